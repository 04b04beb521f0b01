"""The health of a session's tensors, as tests ask for it."""

from typing import Any

import numpy as np
import pytest
from httpx2 import Client


def health(client: Client, session: str) -> Any:
    answer = client.get(f"{session}/tensors")
    assert answer.status_code == 200, answer.text
    assert answer.headers["etag"] == client.get(session).headers["etag"]
    return answer.json()["tensors"]


def update_norms(client: Client, session: str) -> dict[str, float | None]:
    return {name: found["update_norm"] for name, found in health(client, session).items()}


def together(norms: dict[str, float | None]) -> Any:
    """Return about the norm of all tensors together."""
    return pytest.approx(np.sqrt(sum(x**2 for x in norms.values() if x is not None)), rel=1e-14)
