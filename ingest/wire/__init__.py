"""Wire formats: one file each, bytes to Batch."""
