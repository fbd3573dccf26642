"""Columns and cells as other trainers lay them out."""
