"""The file of API keys: reading and changing it. It has their SHA-256 hashes; a key itself is shown once.

{"keys": [{"sha256": "<64 hex digits>", "tenant": "lab", "role": "write", "expires_at": null}]}

A key has 256 random bits, so a plain hash is as hard to reverse as a slow one. The first digits of the hash are the
key's id, which is no secret. A change is written to a new file and moved into place: readers see the old file or the
new one. Knows no requests.
"""

import codecs
import hashlib
import os
import secrets
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from app.roles import Role
from app.wrong_values import need

ID_LENGTH = 12
LOCKED_SECONDS = 5.0
"""The longest wait of a change for another one to end."""


class Key(BaseModel):
    """One row of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="64 hexadecimal digits, in lower case")
    tenant: str = Field(pattern="^[A-Za-z0-9._-]{1,64}$", description="1 to 64 letters, digits or any of . _ -")
    role: str = Field(pattern=f"^({'|'.join(Role.__members__)})$", description=f"one of {', '.join(Role.__members__)}")
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
    """Return the hash that is kept of a key."""
    return hashlib.sha256(secret.encode()).hexdigest()


def read(path: Path) -> list[Key]:
    """Return the keys of a file. Raises `ValueError`, whose message has nothing of the file's content."""
    try:
        text = path.read_bytes().removeprefix(codecs.BOM_UTF8)
        if text.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise ValueError(f"the file of API keys {path} is UTF-16: save it as UTF-8")
        keys = KeysFile.model_validate_json(text).keys
    except OSError as error:
        raise ValueError(f"the file of API keys {path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise ValueError(f"the file of API keys {path}: {_first(error)}") from None
    if len({key.id for key in keys}) < len(keys):
        raise ValueError(f"the file of API keys {path} has one key twice")
    return keys


def create(path: Path, tenant: str, role: str, expires_at: datetime | None = None) -> tuple[str, Key]:
    """Return a new key and its row, which is added to the file, or to a new one. Raises `ValueError`."""
    secret = f"optim_{secrets.token_urlsafe(32)}"
    try:
        key = Key(sha256=hash_of(secret), tenant=tenant, role=role, expires_at=expires_at)
    except ValidationError as error:
        raise ValueError(_first(error)) from None
    _change(path, lambda keys: [*keys, key])
    return secret, key


def revoke(path: Path, key_id: str) -> None:
    """Remove the key from the file. Raises `ValueError` if it is not there."""

    def without(keys: list[Key]) -> list[Key]:
        kept = [key for key in keys if key.id != key_id]
        if len(kept) == len(keys):
            raise ValueError(f"{path} has no key with the id {key_id!r:.80}; `optim keys list` shows those that it has")
        return kept

    _change(path, without)


def _first(error: ValidationError) -> str:
    """Return the fault and its place, without the value: it may be a secret in the wrong place."""
    first = error.errors()[0]
    field = Key.model_fields.get(str(first["loc"][-1])) if first["loc"] else None
    return f"{'.'.join(map(str, first['loc'])) or 'it'}: {need(first, field and field.description)}"


def _change(path: Path, change: Callable[[list[Key]], list[Key]]) -> None:
    """Read, change and replace the file. The new file is the lock, so that no change is lost."""
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
    """Return the descriptor of a new file that only its owner can read."""
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
