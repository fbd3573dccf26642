"""Datasets that stay as they are, and what is removed from them."""
