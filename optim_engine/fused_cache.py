"""The places where compiled kernels are kept: numba's own, and the folder beside their source, written to or not.

An image has the kernels of the machine that built it beside their source, which nobody can write there.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from numba.core.caching import CompileResultCacheImpl, FunctionCache, InTreeCacheLocator, NullCache

try:
    import fcntl
except ImportError:  # Windows has none: two processes may compile the same kernel
    fcntl = None  # type: ignore[assignment]


class NotKept(Exception):
    """The answer of a cache that does not have the kernel."""


class _BesideSource(InTreeCacheLocator):
    """The folder beside the source, which need not be writable."""

    def ensure_cache_path(self) -> None:
        """Accept the folder as it is."""


class _ShippedImpl(CompileResultCacheImpl):
    _locator_classes = (_BesideSource,)


class _Shipped(FunctionCache):
    _impl_class = _ShippedImpl


def writable_folder() -> Path | None:
    """Return the folder that kernels of this package are written to; `None` without one."""
    try:
        return Path(FunctionCache(writable_folder).cache_path)
    except RuntimeError:
        return None


class KernelCache(NullCache):
    """The cache of one kernel. Without a place to write to, it only reads what was shipped."""

    def __init__(self, function: Any) -> None:
        self._compiles = False
        self._all: list[FunctionCache] = []
        for kind in (FunctionCache, _Shipped):
            with suppress(RuntimeError):  # raised if there is no folder for it
                self._all.append(kind(function))

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the kernel for a signature and this processor. If it was not kept, return None to have it compiled;
        raise `NotKept` outside `compiling`."""
        found = (cache.load_overload(sig, target_context) for cache in self._all)
        kernel = next((kernel for kernel in found if kernel is not None), None)
        if kernel is None and not self._compiles:
            raise NotKept
        return kernel

    @contextmanager
    def compiling(self, name: str) -> Iterator[None]:
        """Let the kernel of that name be compiled, by one process at a time: the others then find it here."""
        self._compiles = True
        folders = [Path(cache.cache_path) for cache in self._all if not isinstance(cache, _Shipped)]
        lock = None
        with suppress(OSError):
            if fcntl and folders:
                lock = folders[0].joinpath(f"{name}.lock").open("wb")
                fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            self._compiles = False
            if lock:
                lock.close()

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep a kernel. A disk that is full costs only the next process its time."""
        for cache in self._all:
            if not isinstance(cache, _Shipped):
                with suppress(OSError):
                    cache.save_overload(sig, data)
