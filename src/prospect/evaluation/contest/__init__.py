"""Two sets of completions before a judge."""
