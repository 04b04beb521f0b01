"""Request ids, which tell an answer to another request: each try sends its own, and the service answers with it.

A proxy may replace the ids on the way in. So a foreign id proves nothing until one of this library has come back.
"""

from collections.abc import Mapping
from itertools import count
from uuid import uuid4

from optim_client import _fork

HEADER = "x-request-id"
PREFIX = "optim-client-"
MEDIA_TYPES = ("application/json", "application/problem+json", "application/vnd.safetensors")


class RequestIds:
    """The ids of one client, which differ from those of every other client and process."""

    def __init__(self) -> None:
        self._echoed = False
        self.after_fork()
        _fork.follow(self)

    def after_fork(self) -> None:
        """Start to count under a new name."""
        self._name = f"{PREFIX}{uuid4().hex[:16]}"
        self._count = count(1)

    def new(self) -> str:
        """Return the id of the next try."""
        return f"{self._name}-{next(self._count)}"

    def foreign(self, sent: str, status: int, headers: Mapping[str, str]) -> str | None:
        """Return the id of an answer to another request than `sent`; `None` if the answer may be to this one."""
        got = headers.get(HEADER)
        if got == sent:
            self._echoed = True
            return None
        if got is None or got.startswith(PREFIX):
            return got
        return got if self._echoed and 200 <= status < 300 and _may_be_the_services(headers) else None


def _may_be_the_services(headers: Mapping[str, str]) -> bool:
    """Return whether the media type is one of the service's; a proxy's page has another."""
    return headers.get("content-type", MEDIA_TYPES[0]).startswith(MEDIA_TYPES)
