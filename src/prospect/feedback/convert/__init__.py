"""Between kinds of feedback."""
