"""The file of API keys: what is in it, read and changed. It holds their SHA-256 hashes; a key itself is seen once.

{"keys": [{"sha256": "<64 hex digits>", "tenant": "lab", "role": "write", "expires_at": null}]}

A key has 256 random bits, so that a plain hash is as hard to turn back as a slow one. The first digits of the hash are
the key's id, which may be seen. A change is written aside and moved into place: who reads sees the old file or the new
one. Knows nothing of requests.
"""

import codecs
import hashlib
import os
import secrets
import time
from collections.abc import Callable
from datetime import datetime
from enum import IntEnum
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

ID_LENGTH = 12
LOCKED_SECONDS = 5.0
"""How long a change waits for another one to end."""


class Role(IntEnum):
    """What a key may do; each role may do what the ones before it may."""

    read = 1
    write = 2
    admin = 3


class Key(BaseModel):
    """One row of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    tenant: str = Field(pattern="^[A-Za-z0-9._-]{1,64}$")
    role: str = Field(pattern=f"^({'|'.join(Role.__members__)})$")
    expires_at: AwareDatetime | None = None

    @property
    def id(self) -> str:
        return self.sha256[:ID_LENGTH]

    @property
    def expired(self) -> bool:
        return self.expires_at is not None and self.expires_at.timestamp() <= time.time()


class KeysFile(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    keys: list[Key]


def hash_of(secret: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(secret.encode()).hexdigest()


def read(path: Path) -> list[Key]:
    """The keys of a file. Raises `ValueError` for one that cannot be read, without a word of what is in it."""
    try:
        text = path.read_bytes().removeprefix(codecs.BOM_UTF8)
        if text.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise ValueError(f"OPTIM_API_KEYS_FILE={path} is UTF-16: save it as UTF-8")
        keys = KeysFile.model_validate_json(text).keys
    except OSError as error:
        raise ValueError(f"OPTIM_API_KEYS_FILE={path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise ValueError(f"OPTIM_API_KEYS_FILE={path}: {_first(error)}") from None
    if len({key.id for key in keys}) < len(keys):
        raise ValueError(f"OPTIM_API_KEYS_FILE={path} has one key twice")
    return keys


def create(path: Path, tenant: str, role: str, expires_at: datetime | None = None) -> tuple[str, Key]:
    """A new key, and its row, which is added to the file; a file that is not there is made. Raises `ValueError`."""
    secret = f"optim_{secrets.token_urlsafe(32)}"
    try:
        key = Key(sha256=hash_of(secret), tenant=tenant, role=role, expires_at=expires_at)
    except ValidationError as error:
        raise ValueError(_first(error)) from None
    _change(path, lambda keys: [*keys, key])
    return secret, key


def revoke(path: Path, key_id: str) -> None:
    """Take the key out of the file. Raises `ValueError` where it is not in there."""

    def without(keys: list[Key]) -> list[Key]:
        kept = [key for key in keys if key.id != key_id]
        if len(kept) == len(keys):
            raise ValueError(f"{path} has no key with the id {key_id!r:.80}; `optim keys list` shows those that it has")
        return kept

    _change(path, without)


def _first(error: ValidationError) -> str:
    """What is wrong, and where, without what was given: it may be a secret in the wrong place."""
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc'])) or 'it'}: {first['msg']}"


def _change(path: Path, change: Callable[[list[Key]], list[Key]]) -> None:
    """Read, change and replace the file. The new file is the lock, so that of two changes none is lost."""
    path = path.resolve()  # a link stays a link
    new = path.with_name(f"{path.name}.new")
    descriptor = _created_alone(new)
    try:
        with open(descriptor, "wb") as file:
            keys = KeysFile(keys=change(read(path) if path.exists() else []))
            file.write(keys.model_dump_json(indent=1, exclude_none=True).encode() + b"\n")
            file.flush()
            os.fsync(descriptor)
        new.replace(path)
    except BaseException:
        new.unlink()
        raise


def _created_alone(path: Path) -> int:
    """The descriptor of a new file, for its owner's eyes alone."""
    deadline = time.monotonic() + LOCKED_SECONDS
    while True:
        try:
            return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        except FileExistsError:
            if time.monotonic() > deadline:
                raise ValueError(
                    f"{path} is there: another command changes the keys, or one was killed; then remove that file"
                ) from None
            time.sleep(0.01)
