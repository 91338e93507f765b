"""Runs the processes: ingest, its writer, and Datasette."""
