"""`tmon import`: files from other loggers, found out, shown, and stored."""
