"""A run that goes on, in the terminal and in a browser, from its directory alone."""
