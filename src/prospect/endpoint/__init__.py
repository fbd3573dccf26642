"""Asking a server that speaks OpenAI's protocol."""
