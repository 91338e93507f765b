"""Checks, incidents and notifications."""
