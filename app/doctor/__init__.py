"""The doctor: what is wrong with a store, a machine and a running service, and the way out of each."""
