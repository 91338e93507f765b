"""The writing process, and the commands that write."""
