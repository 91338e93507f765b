"""Readings by way of NATS JetStream, for a station on several machines."""
