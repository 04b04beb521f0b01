"""Runs in an environment of its own, which has the rules' references: `make peers`."""

import jax
import torch

torch.set_num_threads(1)
jax.config.update("jax_enable_x64", True)
