"""A model's folder as others load it: nothing here trains, and nothing is written."""
