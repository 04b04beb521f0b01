"""The bench: this machine against a service, beside the least that the same bytes and the same arithmetic cost."""
