"""Backups of a whole store: a folder of plain files, the same for every kind of store."""
