"""What tmon's processes and commands share, and the commands."""
