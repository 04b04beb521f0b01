"""The requests of the bench, as bytes that are made once; only the key of a step changes."""

import json
import os

import numpy as np
from safetensors.numpy import save

from optim_engine.arrays import Array

SAFETENSORS, JSON = "application/vnd.safetensors", "application/json"
KEY_DIGITS = 32


class Request:
    """A request to one path. `next` gives it a new key, so that a step is not answered as a replay."""

    def __init__(self, host: str, method: str, path: str, body: bytes = b"", media_type: str = "") -> None:
        key = os.environ.get("OPTIM_API_KEY", "")
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(body)}"]
        lines += [f"Content-Type: {media_type}", f"Accept: {media_type}"] if media_type else []
        lines += [f"Authorization: Bearer {key}"] if key else []
        head = "\r\n".join(lines).encode()
        self._start, self._end = head + b'\r\nIdempotency-Key: "', b'"\r\n\r\n' + body
        self._is_keyed = path.endswith("/steps")
        self._plain = head + b"\r\n\r\n" + body

    def next(self) -> bytes:
        """Return the bytes to send."""
        if not self._is_keyed:
            return self._plain
        return self._start + os.urandom(KEY_DIGITS // 2).hex().encode() + self._end


def binary(grads: Array) -> bytes:
    """Return the body of a step as safetensors."""
    return save({"grads/w": grads})


def text(grads: Array) -> bytes:
    """Return the body of a step as JSON."""
    return json.dumps({"grads": {"w": grads.tolist()}}).encode()


def vector(size: int) -> Array:
    """Return gradients, or parameters, of so many elements."""
    return np.random.default_rng(size).standard_normal(size).astype(np.float32)
