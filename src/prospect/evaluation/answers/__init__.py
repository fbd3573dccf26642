"""Who is asked, what is asked, and the answers."""
