"""Shared by all rooms, the pages too: it opens no file and no database."""
