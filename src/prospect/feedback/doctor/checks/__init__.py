"""The checks of the data doctor: each takes a `Case` and yields findings."""
