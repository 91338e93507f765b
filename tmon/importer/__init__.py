"""`tmon import`: files from other loggers: their format detected, shown, and stored."""
