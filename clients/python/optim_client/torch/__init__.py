"""PyTorch and Optim Service: the states of torch's optimizers, as sessions have them. Needs torch."""

from optim_client.torch.states import from_torch, to_torch

__all__ = ["from_torch", "to_torch"]
