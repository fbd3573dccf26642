"""Which method suits the feedback, with which settings."""
