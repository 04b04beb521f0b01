"""The update rules, one a file: equations, source and hyperparameters. The table `optimizers.py` has their names."""
