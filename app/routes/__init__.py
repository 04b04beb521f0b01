"""The routes, one file a noun: what HTTP asks for, handed to `sessions` and written by `wire`."""
