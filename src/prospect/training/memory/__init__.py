"""How much memory a run takes, and how the process holds it."""
