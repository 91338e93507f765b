"""Maintenance jobs: backup, restore, prune, rollup, rename and the like."""
