"""Score on held-out feedback."""
