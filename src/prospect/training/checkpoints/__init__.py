"""What a run saves to go on from, and going on from it."""
