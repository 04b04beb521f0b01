"""Request bodies as one `bytes`, where the client has many buffers: for tests with another transport."""

from collections.abc import Mapping
from dataclasses import replace

from optim_client import _tensors
from optim_client._protocol import Request
from optim_client._tensors import NOTHING, Arrays, ArraysLike


def encode(
    tensors: Mapping[str, ArraysLike], metadata: Mapping[str, str], others: Mapping[str, Arrays] = NOTHING
) -> bytes:
    return b"".join(_tensors.encode(tensors, metadata, others))


def in_one(request: Request) -> Request:
    assert isinstance(request.body, list)
    return replace(request, body=b"".join(request.body))
