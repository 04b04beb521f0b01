"""Request ids: each try sends one of its own, and the answer to another request is not taken for its answer.

The service answers with the id that it was sent. A proxy may replace it on the way in, so an id that is not of this
library proves nothing, until one that is has come back.
"""

from collections.abc import Mapping
from itertools import count
from uuid import uuid4

from optim_client import _fork

HEADER = "x-request-id"
PREFIX = "optim-client-"
MEDIA_TYPES = ("application/json", "application/problem+json", "application/vnd.safetensors")


class RequestIds:
    """The ids of one client: unlike those of every other, and of every other process."""

    def __init__(self) -> None:
        self._echoed = False
        self.after_fork()
        _fork.follow(self)

    def after_fork(self) -> None:
        """Count under a name of this process's own."""
        self._name = f"{PREFIX}{uuid4().hex[:16]}"
        self._count = count(1)

    def new(self) -> str:
        """Return the id of the next try."""
        return f"{self._name}-{next(self._count)}"

    def foreign(self, sent: str, status: int, headers: Mapping[str, str]) -> str | None:
        """Return the id of an answer that belongs to another request than `sent`; `None` of one that does not."""
        got = headers.get(HEADER)
        if got == sent:
            self._echoed = True
            return None
        if got is None or got.startswith(PREFIX):
            return got
        return got if self._echoed and 200 <= status < 300 and _may_be_the_services(headers) else None


def _may_be_the_services(headers: Mapping[str, str]) -> bool:
    """Tell an answer that could be read as the service's from a page of a proxy."""
    return headers.get("content-type", MEDIA_TYPES[0]).startswith(MEDIA_TYPES)
