"""The stores of the tests: each of `app.store.STORES` once, with the URL of an empty one."""

from collections.abc import Callable, Mapping
from pathlib import Path

STORES: Mapping[str, Callable[[Path, Callable[[], str]], str]] = {
    "memory": lambda _folder, _redis: "memory:",
    "lmdb": lambda folder, _redis: f"lmdb:{folder / 'store'}",
    "redis": lambda _folder, redis: redis(),
}
"""By name, the function that returns an empty store's URL; it takes an empty folder and a function for Redis's URL."""
CLUSTER = "redis+cluster"
"""The store on a cluster: the tests of the stores try it each time, those of the service in `make campaign`."""
DURABLE = [name for name in STORES if name != "memory"]
"""The stores that outlive a process."""
