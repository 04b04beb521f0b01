"""The settings of the service, each once: its name, default, bounds, unit and words.

Each is an environment variable `OPTIM_<NAME>` and a flag `--<name>` of `optim serve`; `docs/settings.md` is checked
against this table.
"""

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, FilePath, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.web.names import EVERY, Hosts, listed, origin

DEFAULT_PORT = 8000


def default_store() -> str:
    """Return the URL of the embedded store in the user's data folder."""
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return f"lmdb:{Path(data) / 'optim-service'}"


LINKED_ADDRESS = re.compile(r"(tcp|udp|sctp)://.*")
"""The value that Kubernetes gives `OPTIM_PORT`, for a Service named `optim`."""
STORE_SCHEMES = ("lmdb", "redis", "rediss", "unix", "memory")
LINE_ENDS = "\ufeff\r\n"
"""A byte order mark and line breaks. Blanks are stripped too, but a password may end with one."""
CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f\ufeff]")


def _stripped(value: Any, ends: str) -> Any:
    """Return a text without what files and secrets add at its ends. Raises `ValueError` for more than one line."""
    if not isinstance(value, str):
        return value
    text = value.strip(ends)
    if CONTROL_CHARACTER.search(text):
        raise ValueError("has a line break or another control character in it: give it in one line")
    return text


def _own_port(value: Any) -> Any:
    """Return the default in the place of the address that Kubernetes gives."""
    return DEFAULT_PORT if isinstance(value, str) and LINKED_ADDRESS.fullmatch(value) else value


def _lower_case(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _known_hosts(text: str) -> str:
    Hosts(listed(text))
    return text


def _known_origins(text: str) -> str:
    for name in listed(text):
        if name != EVERY:
            origin(name)
    return text


def _known_store(url: str) -> str:
    scheme, colon, rest = url.partition(":")
    if not colon or scheme not in STORE_SCHEMES or (scheme != "memory" and not rest):
        raise ValueError("must be lmdb:PATH, redis://…, rediss://…, unix:///… or memory:")
    return url


StoreUrl = Annotated[str, AfterValidator(_known_store)]
Port = Annotated[int, Field(ge=0, le=65535), BeforeValidator(_own_port)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$"), BeforeValidator(_lower_case)]
HostList = Annotated[str, AfterValidator(_known_hosts)]
OriginList = Annotated[str, AfterValidator(_known_origins)]


class Settings(BaseSettings):
    """The settings, read from the environment when constructed, and frozen afterwards."""

    model_config = SettingsConfigDict(env_prefix="OPTIM_", frozen=True, extra="forbid", hide_input_in_errors=True)

    store: StoreUrl = Field(
        default_factory=default_store,
        description="Where sessions are kept: `lmdb:PATH`, `redis://…`, `rediss://…`, `unix:///…` or `memory:`. "
        "The default is `lmdb:` with `optim-service` in the user's data folder.",
    )
    host: str = Field(default="127.0.0.1", description="The address to listen on.")
    port: Port = Field(default=DEFAULT_PORT, description="The port to listen on; 0 takes a free one.")
    workers: int = Field(default=1, ge=1, le=256, description="Server processes; not with `memory:`.")
    api_keys_file: FilePath | None = Field(
        default=None,
        description="A JSON file of hashed API keys with their tenants and roles, as `optim keys` writes it; read "
        "again when it changes.",
    )
    api_key_sha256: Sha256 | None = Field(
        default=None,
        description="The SHA-256 hash of one API key, in hexadecimal: it may do everything for the tenant `default`.",
    )
    insecure: bool = Field(
        default=False, description="Listen where other machines reach it, although there are no API keys."
    )
    allowed_hosts: HostList | None = Field(
        default=None,
        description="The hosts that the service answers for beside loopback's, without ports and with commas between: "
        "`optim,10.1.2.3,*.example.org`, or `*` for any. With none, and with API keys, it answers for any.",
    )
    cors_origins: OriginList | None = Field(
        default=None,
        description="The origins whose pages may use the service from a browser, with commas between, such as "
        "`https://app.example.org`, or `*` for any. None by default.",
    )
    ssl_certfile: FilePath | None = Field(
        default=None,
        description="The certificate to show, with those that lead to its authority, as PEM: the service speaks HTTPS "
        "alone.",
    )
    ssl_keyfile: FilePath | None = Field(
        default=None, description="The certificate's private key, as PEM, where it is not in the same file."
    )
    ssl_keyfile_password: str | None = Field(default=None, description="What the private key is encrypted with.")
    max_body_bytes: int = Field(
        default=4 << 30,
        ge=1 << 10,
        description="Longest request body, in bytes, and largest state of one session; a state file may have its "
        "header beside.",
    )
    max_json_bytes: int = Field(
        default=16 << 20,
        ge=1 << 10,
        description="Longest request body that is JSON, in bytes, and the most that parameters may have as a JSON "
        "answer; safetensors have no such limit.",
    )
    head_seconds: float = Field(
        default=10.0,
        gt=0,
        description="How long a request's head may take to come, in seconds; then the connection is closed.",
    )
    body_seconds: float = Field(
        default=30.0,
        gt=0,
        description="How long a request's body may take to come, in seconds, and one more for each 16 KiB that have "
        "come, and how long nothing of it may come; then the connection is closed.",
    )
    answer_seconds: float = Field(
        default=30.0,
        gt=0,
        description="How long a client may take for what waits of an answer, in seconds, and one more for each 16 KiB "
        "that it has taken, and how long it may take nothing; then the connection is closed.",
    )
    max_tensors: int = Field(default=10_000, ge=1, description="Most tensors in one session or body.")
    max_name_length: int = Field(default=256, ge=1, le=4096, description="Longest tensor name, in characters.")
    max_dimensions: int = Field(default=32, ge=1, le=32, description="Most dimensions of a tensor.")
    max_json_depth: int = Field(
        default=64, ge=1, le=1024, description="Most lists and objects in one another in a JSON body."
    )
    max_sessions: int | None = Field(
        default=None, ge=1, description="Most sessions of one tenant; one more is answered 403. None by default."
    )
    max_state_bytes: int | None = Field(
        default=None,
        ge=1,
        description="Most bytes of state of one tenant, all sessions together; more is answered 403. None by default.",
    )
    compute_threads: int = Field(
        default=0, ge=0, le=1024, description="Threads that compute; 0 takes one for each processor."
    )
    max_waiting_steps: int = Field(
        default=256,
        ge=1,
        description="Steps, and uploads of parameters and states, under way at once; one more waits a moment for a "
        "place, and is then answered 503 `overloaded`. A tenant alone has seven eighths of them.",
    )
    max_waiting_bytes: int = Field(
        default=4 << 30,
        ge=1 << 16,
        description="Memory for the bodies of requests under way, in bytes; where more would be held, the body that "
        "comes slowest is answered 503 `overloaded`. One that is longer alone is answered 413.",
    )
    rate_limit: str | None = Field(
        default=None,
        pattern="^[1-9][0-9]*/(second|minute|hour|day)$",
        description="Requests of one tenant, such as `100/second`; more are answered 429. None by default.",
    )
    state_cache_bytes: int = Field(
        default=2 << 30, ge=0, description="Memory for the states of recent sessions, in bytes; 0 keeps none."
    )
    spare_bytes: int = Field(
        default=1 << 30,
        ge=0,
        description="Memory that is kept for the next request when one is done, in bytes; what nobody has used for "
        "some seconds goes back to the system.",
    )
    history_limit: int = Field(default=100_000, ge=1, description="Rows of history kept for one session.")
    store_timeout_seconds: float = Field(
        default=30.0, gt=0, description="How long one call to Redis may take, in seconds."
    )
    lmdb_map_bytes: int = Field(
        default=1 << 40, ge=1 << 20, description="The most that the embedded store may grow to, in bytes."
    )
    lmdb_sync: Literal["full", "relaxed"] = Field(
        default="full",
        description="What a step of the embedded store survives: `full`, a power cut; `relaxed`, a `kill -9` alone.",
    )
    sweep_seconds: float = Field(
        default=300.0, gt=0, description="How often expired sessions and leftovers are removed, in seconds."
    )
    shutdown_seconds: int = Field(
        default=30, ge=0, description="How long steps under way may take to finish when the server stops, in seconds."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least that is logged."
    )
    log_format: Literal["console", "json"] = Field(default="console", description="How log lines are written.")

    @field_validator("*", mode="before")
    @classmethod
    def _one_line(cls, value: Any, info: ValidationInfo) -> Any:
        return _stripped(value, LINE_ENDS if info.field_name == "ssl_keyfile_password" else LINE_ENDS + "\t ")

    @property
    def has_keys(self) -> bool:
        """Return true if requests need an API key."""
        return self.api_keys_file is not None or self.api_key_sha256 is not None
