"""The database: open, check, migrate and repair it; nodes and tokens."""
