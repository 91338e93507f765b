"""Readings on their way to the disk: the only code that writes them."""
