"""Trees of arrays: nested mappings, lists and tuples, as in JAX and Flax. An array's name is its path: `a/b/0`.

A list or tuple that begins with a number is an array, as for NumPy; `None` stands for a missing array.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeGuard, TypeVar

import numpy as np

Tree = Mapping[Any, Any] | list[Any] | tuple[Any, ...]
ENDS = frozenset({np.ndarray, np.float32, np.float64, float, type(None)})
TreeT = TypeVar("TreeT", bound=Tree)


def flattened(kind: str, tree: Tree) -> dict[str, Any]:
    """Return the leaves of the tree by name, `None` included. Raises `TypeError` and `ValueError`."""
    if not _is_branch(tree):
        raise TypeError(
            f"{kind} must be a mapping of names to arrays, or a tree of mappings, lists and tuples of arrays, "
            f"not {type(tree).__name__}"
        )
    if _is_flat(tree):
        return dict(tree)
    leaves: dict[str, Any] = {}
    _collect(kind, tree, "", leaves)
    return leaves


def rebuilt(tree: TreeT, leaf: Callable[[str, Any], Any], prefix: str = "") -> TreeT:
    """Return a tree of the same structure, with each leaf replaced by `leaf(name, leaf)`."""
    if _is_flat(tree):
        return {key: leaf(prefix + key, child) for key, child in tree.items()}  # type: ignore[return-value]

    def new(key: str, child: Any) -> Any:
        name = prefix + key
        return rebuilt(child, leaf, f"{name}/") if _is_branch(child) else leaf(name, child)

    result: Any
    if isinstance(tree, Mapping):
        result = _mapping_like(tree, {key: new(_key(key), child) for key, child in tree.items()})
    else:
        children = [new(key, child) for key, child in _children(tree)]
        result = type(tree)(*children) if hasattr(tree, "_fields") else type(tree)(children)
    return result  # type: ignore[no-any-return]


def _is_flat(tree: Tree) -> TypeGuard[dict[str, Any]]:
    """Return whether the tree is a plain dict of arrays. Takes microseconds for a thousand of them."""
    return type(tree) is dict and {str}.issuperset(map(type, tree)) and ENDS.issuperset(map(type, tree.values()))


def _collect(kind: str, branch: Tree, prefix: str, leaves: dict[str, Any]) -> None:
    for key, child in _children(branch):
        name = prefix + key
        if _is_branch(child):
            _collect(kind, child, f"{name}/", leaves)
        elif name in leaves:
            raise ValueError(f"{kind} has two arrays named {name!r}: a name is the path to the array, joined by '/'")
        else:
            leaves[name] = child


def _is_branch(node: Any) -> bool:
    if type(node) is np.ndarray:
        return False
    return isinstance(node, Mapping) or (isinstance(node, list | tuple) and not _is_numbers(node))


def _is_numbers(node: Any) -> bool:
    """Return whether the node begins with a number, as an array. An empty list is an empty branch."""
    while isinstance(node, list | tuple) and node:
        node = node[0]
    return isinstance(node, int | float | complex | str | bytes | np.generic)


def _children(branch: Tree) -> Iterator[tuple[str, Any]]:
    if isinstance(branch, Mapping):
        for key, child in branch.items():
            yield key if type(key) is str else _key(key), child
    else:
        yield from zip(getattr(branch, "_fields", map(str, range(len(branch)))), branch, strict=True)


def _key(key: object) -> str:
    if isinstance(key, str):
        return str(key)
    if isinstance(key, int) and not isinstance(key, bool):
        return str(key)
    raise TypeError(f"a key in a tree must be a string or an integer, not {key!r}")


def _mapping_like(mapping: Mapping[Any, Any], items: dict[Any, Any]) -> Mapping[Any, Any]:
    """Return a mapping of the same type, where that takes the items; else a dict."""
    if type(mapping) is dict:
        return items
    try:
        return type(mapping)(items)  # type: ignore[call-arg]
    except TypeError:
        return items
