"""Who calls: an API key names a tenant and a role. Keys are kept and compared as SHA-256 hashes, never as they are.

The keys file is JSON: {"keys": [{"sha256": "<64 hex digits>", "tenant": "lab", "role": "write", "expires_at": null}]}.
"""

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from app.errors import Forbidden, Unauthenticated

SOLE_TENANT = "default"
"""Whose sessions they are where there are no keys."""


class Role(IntEnum):
    """What a key may do; each role may do what the ones before it may."""

    read = 1
    write = 2


class Key(BaseModel):
    """One row of the keys file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    tenant: str = Field(pattern="^[A-Za-z0-9._-]{1,64}$")
    role: str = Field(pattern="^(read|write)$")
    expires_at: AwareDatetime | None = None


class KeysFile(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    keys: list[Key]


@dataclass(frozen=True)
class Caller:
    """Who a request is from, and what it may do."""

    tenant: str
    role: Role


class Keys:
    """The known keys by their hashes; `None` where everybody may do everything."""

    def __init__(self, keys: Mapping[str, Key] | None) -> None:
        self._keys = keys

    @classmethod
    def read(cls, path: Path | None) -> "Keys":
        """The keys of a file; no path, no keys. Raises `ValueError` for one that cannot be read."""
        if path is None:
            return cls(None)
        try:
            keys = KeysFile.model_validate_json(path.read_bytes()).keys
        except OSError as error:
            raise ValueError(f"OPTIM_API_KEYS_FILE={path} cannot be read: {error.strerror}") from error
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "it"
            raise ValueError(f"OPTIM_API_KEYS_FILE={path}: {where}: {first['msg']}") from None
        by_hash = {key.sha256: key for key in keys}
        if len(by_hash) < len(keys):
            raise ValueError(f"OPTIM_API_KEYS_FILE={path} has one key twice")
        return cls(by_hash)

    def caller(self, authorization: str | None, needed: Role) -> Caller:
        """Who sent that header. Raises `Unauthenticated`, and `Forbidden` where the role is not enough."""
        if self._keys is None:
            return Caller(SOLE_TENANT, Role.write)
        scheme, _, secret = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not secret:
            raise Unauthenticated("send an API key: `Authorization: Bearer <key>`")
        key = self._keys.get(hashlib.sha256(secret.strip().encode()).hexdigest())
        if key is None or (key.expires_at is not None and key.expires_at.timestamp() <= time.time()):
            raise Unauthenticated("this API key is unknown or has expired")
        if Role[key.role] < needed:
            raise Forbidden(f"this API key has the role {key.role!r}, the call needs {needed.name!r}")
        return Caller(key.tenant, Role[key.role])
