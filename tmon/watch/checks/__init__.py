"""What is looked at, one kind of thing a file: each yields what it finds wrong."""
