"""Scores on held-out feedback."""
