"""Train through Optim Service."""
