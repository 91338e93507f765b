"""The database: opened, checked, migrated, kept whole."""
