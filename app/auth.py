"""Authentication by API keys, each of a tenant and a role.

Keys are compared as hashes, and read again while the service runs.
"""

import os
import time
from collections import Counter
from dataclasses import dataclass
from hmac import compare_digest
from pathlib import Path

from app import keys_file
from app.errors import Forbidden, Unauthenticated
from app.keys_file import ID_LENGTH, Key, hash_of
from app.logs import log
from app.roles import Role

SOLE_TENANT = "default"
"""The tenant of all sessions, if there are no keys, or one from the environment."""
LOOK_SECONDS = 1.0
"""Seconds between two checks for a changed file."""


@dataclass(frozen=True)
class Caller:
    """The tenant and the role of a request."""

    tenant: str
    role: Role

    def check_may(self, needed: Role) -> None:
        """Raise `Forbidden` if the role is not enough."""
        if self.role < needed:
            raise Forbidden(f"this API key has the role {self.role.name!r}, the call needs {needed.name!r}")


class Keys:
    """The known keys: those of the file, and the one whose hash is in the environment.

    Without any, every caller may do everything.
    """

    def __init__(self, path: Path | None, sole_sha256: str | None = None) -> None:
        """Read the file. Raises `ValueError` if it cannot be read."""
        self._sole = [Key(sha256=sole_sha256, tenant=SOLE_TENANT, role=Role.admin.name)] if sole_sha256 else []
        self._path = path
        self.needed = path is not None or sole_sha256 is not None
        self._seen = _look(path)
        self._by_id = self._read()
        self._looked = time.monotonic()
        self._complaint = ""

    def caller(self, authorization: str | None) -> Caller:
        """Return the caller with that header. Raises `Unauthenticated`."""
        if not self.needed:
            return Caller(SOLE_TENANT, Role.admin)
        if time.monotonic() >= self._looked + LOOK_SECONDS:
            self._look_again()
        scheme, _, secret = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not secret:
            raise Unauthenticated("send an API key: `Authorization: Bearer <key>`")
        sha256 = hash_of(secret.strip())
        key = self._by_id.get(sha256[:ID_LENGTH])  # its timing tells at most the id, which is no secret
        if key is None or not compare_digest(key.sha256, sha256) or key.expired:
            raise Unauthenticated("this API key is unknown, revoked or expired")
        return Caller(key.tenant, Role[key.role])

    def count(self) -> dict[str, int]:
        """Return the number of valid keys by role."""
        valid = Counter(key.role for key in self._by_id.values() if not key.expired)
        return {role.name: valid[role.name] for role in Role}

    def _look_again(self) -> None:
        """Read the file if it has changed. A fault is logged once, and the last good keys stay until it is mended."""
        self._looked = time.monotonic()
        seen = _look(self._path)
        if seen is not None and seen == self._seen:
            return
        try:
            self._by_id = self._read()
        except ValueError as error:
            self._seen = None
            if str(error) != self._complaint:
                self._complaint = str(error)
                log.error("the old keys stay in force", error=self._complaint)
        else:
            self._seen, self._complaint = seen, ""
            log.info("reloaded the keys", keys=len(self._by_id))

    def _read(self) -> dict[str, Key]:
        return {key.id: key for key in (*self._sole, *(keys_file.read(self._path) if self._path else ()))}


def _look(path: Path | None) -> tuple[int, ...] | None:
    """Return an identity of the file's version, without reading it; `None` if there is no file."""
    if path is None:
        return ()
    try:
        about = os.stat(path)
    except OSError:
        return None
    return about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns
