"""Feedback in the layouts of other trainers."""
