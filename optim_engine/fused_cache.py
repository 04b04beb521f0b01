"""The places where compiled kernels are kept: numba's own, and the folder beside their source, written to or not.

An image has the kernels of the machine that built it beside their source, which nobody can write there.
"""

from contextlib import suppress
from typing import Any

from numba.core.caching import CompileResultCacheImpl, FunctionCache, InTreeCacheLocator, NullCache


class _BesideSource(InTreeCacheLocator):
    """The folder beside the source, which need not be writable."""

    def ensure_cache_path(self) -> None:
        """Accept the folder as it is."""


class _ShippedImpl(CompileResultCacheImpl):
    _locator_classes = (_BesideSource,)


class _Shipped(FunctionCache):
    _impl_class = _ShippedImpl


class KernelCache(NullCache):
    """The cache of one kernel. Without a place to write to, it only reads what was shipped."""

    def __init__(self, function: Any) -> None:
        self._all: list[FunctionCache] = []
        for kind in (FunctionCache, _Shipped):
            with suppress(RuntimeError):  # raised if there is no folder for it
                self._all.append(kind(function))

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the kernel for a signature and this processor; None if it was not kept."""
        found = (cache.load_overload(sig, target_context) for cache in self._all)
        return next((kernel for kernel in found if kernel is not None), None)

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep a kernel. A disk that is full costs only the next process its time."""
        for cache in self._all:
            if not isinstance(cache, _Shipped):
                with suppress(OSError):
                    cache.save_overload(sig, data)
