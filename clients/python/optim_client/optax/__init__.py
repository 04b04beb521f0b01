"""The service as an optimizer of optax, and its states as those of optax.

tx = remote(client.sessions.create("adamw", lr=1e-3))
opt_state = tx.init(params)
updates, opt_state = tx.update(grads, opt_state, params)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from optim_client.optax._files import export_npz, import_npz

if TYPE_CHECKING:
    from optim_client.optax._accumulation import MultiStepsState, multi_steps
    from optim_client.optax._failures import typed_errors
    from optim_client.optax._states import load_optax_state, save_optax_state
    from optim_client.optax._transformation import RemoteState, remote

__all__ = [
    "MultiStepsState",
    "RemoteState",
    "export_npz",
    "import_npz",
    "load_optax_state",
    "multi_steps",
    "remote",
    "save_optax_state",
    "typed_errors",
]

_NEED_JAX = {
    "MultiStepsState": "_accumulation",
    "RemoteState": "_transformation",
    "load_optax_state": "_states",
    "multi_steps": "_accumulation",
    "remote": "_transformation",
    "save_optax_state": "_states",
    "typed_errors": "_failures",
}
"""The names that need JAX and optax, with their modules."""


def __getattr__(name: str) -> Any:
    """Return what needs JAX and optax when it is asked for: the rest works without them."""
    if name not in _NEED_JAX:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f"{__name__}.{_NEED_JAX[name]}"), name)
    except ModuleNotFoundError as error:
        if error.name not in ("jax", "optax"):
            raise
        raise ImportError(f"optim_client.optax.{name} needs jax and optax: pip install optax") from error
