"""The service as an optimizer of optax, and its states as those of optax."""

from optim_client.optax.states import export_npz, import_npz

__all__ = ["export_npz", "import_npz"]
