"""Studies: methods x data conditions x seeds, pooled into one table with intervals (`prospect compare`)."""
