"""The pages of a server: one to chat and vote on, one that shows how the models do."""
