"""The checks, one subject a file: each yields findings."""
