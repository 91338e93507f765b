"""What everything may import, plugins too: it opens no file and no database."""
