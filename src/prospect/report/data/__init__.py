"""The page of feedback files."""
