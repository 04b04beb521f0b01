"""PyTorch and Optim Service: the states of torch's optimizers, as sessions have them. Needs torch."""

from optim_client.torch._order import by_name
from optim_client.torch.files import export_torch, import_torch
from optim_client.torch.states import from_torch, to_torch

__all__ = ["by_name", "export_torch", "from_torch", "import_torch", "to_torch"]
