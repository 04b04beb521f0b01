"""The settings of the service, each once: its name, default, bounds, unit and words.

Each is an environment variable `OPTIM_<NAME>` and a flag `--<name>` of `optim serve`; `docs/settings.md` is checked
against this table.
"""

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FilePath,
    ValidationInfo,
    field_validator,
    model_validator,
)

from app.web.names import EVERY, Hosts, listed, origin

DEFAULT_PORT = 8000
NO_TCP = "none"
"""The host of a service that listens on its Unix socket alone."""
PREFIX = "optim_"
"""The start of a variable's name, whose letters may be small or capital."""


def default_store() -> str:
    """Return the URL of the embedded store in the user's data folder."""
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return f"lmdb:{Path(data) / 'optim-service'}"


LINKED_ADDRESS = re.compile(r"(tcp|udp|sctp)://.*")
"""The value that Kubernetes gives `OPTIM_PORT`, for a Service named `optim`."""
RATE = re.compile(r"[1-9][0-9]*/(second|minute|hour|day)", re.ASCII)
HASH = re.compile(r"[0-9a-f]{64}")
SEVERAL = ("redis+cluster", "rediss+cluster", "redis+sentinel", "rediss+sentinel")
"""The schemes of addresses that name several servers."""
STORE_SCHEMES = ("lmdb", "redis", "rediss", "unix", *SEVERAL, "memory")
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
        raise ValueError(
            "must be lmdb:PATH, redis://…, rediss://…, redis+cluster://…, redis+sentinel://…, unix:///… or memory:"
        )
    return url


def _named_socket(path: Any) -> Any:
    if path == "":
        raise ValueError("must be the path of a socket, such as /run/optim/optim.sock")
    return path


def _known_rate(text: str) -> str:
    if not RATE.fullmatch(text):
        raise ValueError(f"{text!r:.80} cannot be read; write it as 100/second (second, minute, hour or day)")
    return text


def _known_hash(text: str) -> str:
    if not HASH.fullmatch(text):  # not shown: it may be the key itself
        raise ValueError("must be the SHA-256 of a key: 64 hexadecimal digits")
    return text


StoreUrl = Annotated[str, AfterValidator(_known_store)]
SocketPath = Annotated[Path, BeforeValidator(_named_socket)]
Port = Annotated[int, Field(ge=0, le=65535), BeforeValidator(_own_port)]
Sha256 = Annotated[str, AfterValidator(_known_hash), BeforeValidator(_lower_case)]
Rate = Annotated[str, AfterValidator(_known_rate)]
HostList = Annotated[str, AfterValidator(_known_hosts)]
OriginList = Annotated[str, AfterValidator(_known_origins)]


class FromEnvironment(BaseModel):
    """Values that are read from the environment when they are not given, and frozen afterwards."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        validate_default=True,
        defer_build=True,  # `--help` needs only the fields
    )

    @model_validator(mode="before")
    @classmethod
    def _from_environment(cls, given: dict[str, Any]) -> dict[str, Any]:
        variables = {name.lower(): text for name, text in os.environ.items()}
        named = {name: variables.get(f"{PREFIX}{name}") for name in cls.model_fields}
        return {name: text for name, text in named.items() if text is not None} | given

    @field_validator("*", mode="before")
    @classmethod
    def _one_line(cls, value: Any, info: ValidationInfo) -> Any:
        return _stripped(value, LINE_ENDS if info.field_name == "ssl_keyfile_password" else LINE_ENDS + "\t ")


class Place(FromEnvironment):
    """The settings of a service's place: its store, its addresses and its processes."""

    store: StoreUrl = Field(
        default_factory=default_store,
        description="Where sessions are kept: `lmdb:PATH`, `redis://…`, `rediss://…`, `redis+cluster://…`, "
        "`redis+sentinel://…`, `unix:///…` or `memory:`. "
        "The default is `lmdb:` with `optim-service` in the user's data folder.",
    )
    host: str = Field(default="127.0.0.1", description="The address to listen on, or `none` for a Unix socket alone.")
    port: Port = Field(default=DEFAULT_PORT, description="The port to listen on; 0 means a free one.")
    unix_socket: SocketPath | None = Field(
        default=None,
        description="A Unix socket to listen on as well, such as `/run/optim/optim.sock`. Its mode is 0660.",
    )
    workers: int = Field(default=1, ge=1, le=256, description="Server processes; `memory:` allows only one.")


class Settings(Place):
    """The settings."""

    api_keys_file: FilePath | None = Field(
        default=None,
        description="A JSON file of hashed API keys with their tenants and roles, as `optim keys` writes it; reread "
        "when it changes.",
    )
    api_key_sha256: Sha256 | None = Field(
        default=None,
        description="The SHA-256 of one API key, in hexadecimal; the key may do everything for the tenant `default`.",
    )
    insecure: bool = Field(
        default=False, description="Listen on addresses that other machines reach, even without API keys."
    )
    allowed_hosts: HostList | None = Field(
        default=None,
        description="Host names that the service answers to besides loopback's, without ports and separated by "
        "commas: `optim,10.1.2.3,*.example.org`, or `*` for any. By default, a service with API keys answers all.",
    )
    cors_origins: OriginList | None = Field(
        default=None,
        description="Origins whose pages may use the service from a browser, separated by commas, such as "
        "`https://app.example.org`, or `*` for any. None by default.",
    )
    ssl_certfile: FilePath | None = Field(
        default=None,
        description="The certificate and its chain, as PEM; with it, the service speaks only HTTPS.",
    )
    ssl_keyfile: FilePath | None = Field(
        default=None, description="The certificate's private key, as PEM, if it is in another file."
    )
    ssl_keyfile_password: str | None = Field(default=None, description="The password of the private key.")
    max_body_bytes: int = Field(
        default=4 << 30,
        ge=1 << 10,
        description="The longest body and largest state of a session, in bytes; a state file may add its header.",
    )
    max_json_bytes: int = Field(
        default=16 << 20,
        ge=1 << 10,
        description="The longest JSON body and JSON answer with parameters, in bytes; safetensors have no such limit.",
    )
    head_seconds: float = Field(
        default=10.0,
        gt=0,
        description="Seconds for a request's head. A late connection is closed.",
    )
    body_seconds: float = Field(
        default=30.0,
        gt=0,
        description="Seconds for a request's body, plus one for each 16 KiB received. Also the longest silence "
        "allowed. A late connection is closed.",
    )
    answer_seconds: float = Field(
        default=30.0,
        gt=0,
        description="Seconds for a client to take its answer, plus one for each 16 KiB taken. Also the longest silence "
        "allowed. A late connection is closed.",
    )
    max_tensors: int = Field(default=10_000, ge=1, description="The most tensors in one session or body.")
    max_name_length: int = Field(default=256, ge=1, le=4096, description="The longest name of a tensor, in characters.")
    max_dimensions: int = Field(default=32, ge=1, le=32, description="The most dimensions of a tensor.")
    max_json_depth: int = Field(
        default=64, ge=1, le=1024, description="Deepest nesting of lists and objects in a JSON body."
    )
    max_sessions: int | None = Field(
        default=None,
        ge=1,
        description="The most sessions of one tenant; beyond it, a creation is answered 403. None by default.",
    )
    max_state_bytes: int | None = Field(
        default=None,
        ge=1,
        description="The most bytes of state of one tenant, over all its sessions; beyond it, a request is answered "
        "403. None by default.",
    )
    compute_threads: int = Field(
        default=0, ge=0, le=1024, description="Threads that compute; 0 means one for each processor."
    )
    max_waiting_steps: int = Field(
        default=256,
        ge=1,
        description="The most concurrent steps and uploads of parameters and states; one more waits briefly for a "
        "place, then is answered 503 `overloaded`. One tenant may hold seven eighths of the places.",
    )
    max_waiting_bytes: int = Field(
        default=4 << 30,
        ge=1 << 16,
        description="Memory for the bodies of concurrent requests, in bytes; beyond it, the slowest body is "
        "answered 503 `overloaded`. A single body that is longer is answered 413.",
    )
    max_streams: int = Field(
        default=256,
        ge=1,
        description="The most open streams of events in one server process; one more is answered 503 `overloaded`.",
    )
    max_region_bytes: int = Field(
        default=4 << 30,
        ge=0,
        description="Memory shared with Python clients on the Unix socket, in bytes; 0 turns it off.",
    )
    rate_limit: Rate | None = Field(
        default=None,
        description="The most requests of one tenant, such as `100/second`; beyond it, a request is answered 429. "
        "None by default.",
    )
    state_cache_bytes: int = Field(
        default=2 << 30, ge=0, description="Memory for the states of recent sessions, in bytes; 0 turns this cache off."
    )
    spare_bytes: int = Field(
        default=1 << 30,
        ge=0,
        description="Memory that finished requests leave for the next ones, in bytes; unused for some seconds, it "
        "goes back to the system.",
    )
    history_limit: int = Field(default=100_000, ge=1, description="Rows kept of a session's history; more are thinned.")
    store_timeout_seconds: float = Field(
        default=30.0, gt=0, description="The timeout of one call to Redis, in seconds."
    )
    redis_replicas: int = Field(default=0, ge=0, description="Replicas of Redis that must have each answered step.")
    lmdb_map_bytes: int = Field(
        default=1 << 40, ge=1 << 20, description="The largest size of the embedded store, in bytes."
    )
    lmdb_sync: Literal["full", "relaxed"] = Field(
        default="full",
        description="What an acknowledged step of the embedded store survives: `full` survives a power cut; `relaxed` "
        "only a `kill -9`.",
    )
    sweep_seconds: float = Field(
        default=300.0, gt=0, description="The interval between removals of expired sessions and leftovers, in seconds."
    )
    drain_seconds: int = Field(default=0, ge=0, description="Seconds from SIGTERM to the stop; `/readyz` is 503.")
    shutdown_seconds: int = Field(
        default=30, ge=0, description="The time that running steps have to finish when the server stops, in seconds."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The lowest level that is logged."
    )
    log_format: Literal["console", "json"] = Field(default="console", description="The format of log lines.")

    @property
    def secret_files(self) -> list[Path]:
        """Return the files of API keys and of a private key, which may be in that of its certificate."""
        return [file for file in (self.api_keys_file, self.ssl_keyfile or self.ssl_certfile) if file is not None]

    @property
    def has_keys(self) -> bool:
        """Return whether requests need an API key."""
        return self.api_keys_file is not None or self.api_key_sha256 is not None
