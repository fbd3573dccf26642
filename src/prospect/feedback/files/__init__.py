"""Between files and records."""
