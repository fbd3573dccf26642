"""Image files: opened within bounds, known by their content, made into arrays."""
