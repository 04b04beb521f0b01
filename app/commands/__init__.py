"""The commands of `optim`, one noun a file. `app/cli.py` names them all.

Each imports what it needs when it runs, so that `--help` is quick.
"""
