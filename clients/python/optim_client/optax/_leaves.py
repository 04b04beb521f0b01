"""The arrays of a JAX tree by name, as the client names them: the path, joined by `/`."""

from typing import Any

import jax

LONE = "params"
"""The name of an array that is no tree."""


def named_leaves(kind: str, tree: Any) -> dict[str, Any]:
    """Return the leaves by name; `None` and what `optax.masked` has masked are none. Raises `ValueError`."""
    leaves = dict[str, Any]()
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        name = "/".join(map(_key, path)) or LONE
        if name in leaves:
            raise ValueError(f"{kind} has two arrays named {name!r}: a name is the path to the array, joined by '/'")
        leaves[name] = leaf
    return leaves


def _key(key: Any) -> str:
    """Return a key of a path: of a mapping, a sequence, an attribute, or of a node that numbers its children."""
    for attribute in ("key", "idx", "name"):
        if hasattr(key, attribute):
            return str(getattr(key, attribute))
    return str(key)
