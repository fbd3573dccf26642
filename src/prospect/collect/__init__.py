"""Collect thumbs from a model that is in use: a recording proxy, votes, review, and rows that train."""
