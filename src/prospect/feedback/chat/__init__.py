"""Conversations as a chat template renders them. No torch."""
