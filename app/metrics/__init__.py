"""The service's metrics, one family or a few of one noun a file."""
