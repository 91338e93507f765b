"""What is done to a database now and then: backup, prune, rename, rollup."""
