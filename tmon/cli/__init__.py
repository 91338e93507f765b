"""The commands, a file for each group: they print, and decide nothing."""
