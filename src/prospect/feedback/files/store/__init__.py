"""Reading what `prospect serve` has collected: its tables, without the libraries that write them."""
