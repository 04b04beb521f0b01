"""The settings of the service: each one as a variable and as a flag, and the values that are refused."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from app import cli
from app.settings import Settings

TEXTS: dict[str, tuple[str, Any]] = {
    "store": ("redis://example.org:6380/2", "redis://example.org:6380/2"),
    "host": ("0.0.0.0", "0.0.0.0"),
    "port": ("9000", 9000),
    "workers": ("3", 3),
    "unix_socket": ("/run/optim.sock", Path("/run/optim.sock")),
    "api_keys_file": (__file__, Path(__file__)),
    "api_key_sha256": ("0" * 64, "0" * 64),
    "insecure": ("True", True),
    "allowed_hosts": ("optim,*.example.org", "optim,*.example.org"),
    "cors_origins": ("https://app.example.org", "https://app.example.org"),
    "ssl_certfile": (__file__, Path(__file__)),
    "ssl_keyfile": (__file__, Path(__file__)),
    "ssl_keyfile_password": ("secret", "secret"),
    "max_body_bytes": ("4096", 4096),
    "max_json_bytes": ("2048", 2048),
    "head_seconds": ("2.5", 2.5),
    "body_seconds": ("60", 60.0),
    "answer_seconds": ("60", 60.0),
    "max_tensors": ("7", 7),
    "max_name_length": ("9", 9),
    "max_dimensions": ("3", 3),
    "max_json_depth": ("9", 9),
    "max_sessions": ("4", 4),
    "max_state_bytes": ("1000", 1000),
    "compute_threads": ("2", 2),
    "max_waiting_steps": ("5", 5),
    "max_waiting_bytes": ("1048576", 1048576),
    "max_streams": ("64", 64),
    "max_region_bytes": ("0", 0),
    "rate_limit": ("100/second", "100/second"),
    "state_cache_bytes": ("0", 0),
    "spare_bytes": ("0", 0),
    "history_limit": ("11", 11),
    "store_timeout_seconds": ("1.5", 1.5),
    "redis_replicas": ("2", 2),
    "lmdb_map_bytes": ("1048576", 1048576),
    "lmdb_sync": ("relaxed", "relaxed"),
    "sweep_seconds": ("0.5", 0.5),
    "drain_seconds": ("5", 5),
    "shutdown_seconds": ("0", 0),
    "log_level": ("warning", "warning"),
    "log_format": ("json", "json"),
}
"""The text of each setting, and its value."""
WRONG: dict[str, list[str]] = {
    "store": ["", "lmdb", "lmdb:", "sqlite:x", "redis:", "http://example.org"],
    "port": ["", "-1", "65536", "http"],
    "unix_socket": [""],
    "workers": ["0", "257", "two"],
    "api_keys_file": ["", "/nowhere/keys.json", "/"],
    "api_key_sha256": ["", "secret", "0" * 63, "sha256:" + "0" * 64],
    "insecure": ["", "maybe"],
    "allowed_hosts": ["optim:8000", "http://optim", "*.*"],
    "cors_origins": ["app.example.org", "https://app.example.org/", "null"],
    "ssl_certfile": ["", "/nowhere/cert.pem", "/"],
    "ssl_keyfile": ["", "/nowhere/key.pem", "/"],
    "max_body_bytes": ["0", "1023", "1MB"],
    "max_json_bytes": ["0", "1023", "1MB"],
    "head_seconds": ["0", "-1", "soon"],
    "body_seconds": ["0", "-1", "soon"],
    "answer_seconds": ["0", "-1", "soon"],
    "max_tensors": ["0", "many"],
    "max_name_length": ["0", "4097"],
    "max_dimensions": ["0", "33"],
    "max_json_depth": ["0", "1025"],
    "max_sessions": ["0", "few"],
    "max_state_bytes": ["0", "1GB"],
    "compute_threads": ["-1", "1025"],
    "max_waiting_steps": ["0"],
    "max_waiting_bytes": ["0", "65535", "1GB"],
    "max_streams": ["", "0", "many"],
    "max_region_bytes": ["", "-1", "1GB"],
    "rate_limit": ["", "100", "0/second", "often", "100/fortnight", "1.5/second"],
    "state_cache_bytes": ["-1"],
    "spare_bytes": ["-1", "1GB"],
    "history_limit": ["0"],
    "redis_replicas": ["-1", "one"],
    "store_timeout_seconds": ["0", "-1", "soon"],
    "lmdb_map_bytes": ["0"],
    "lmdb_sync": ["", "off", "FULL"],
    "sweep_seconds": ["0"],
    "drain_seconds": ["-1", "1.5"],
    "shutdown_seconds": ["-1", "1.5"],
    "log_level": ["", "trace", "INFO"],
    "log_format": ["", "xml"],
}
"""Wrong texts. A wrong host fails when the server listens, a wrong password when the key is read."""
ON_OR_OFF = {"insecure": "True"}
"""The settings whose flag takes no value, and the value that it means."""


@pytest.fixture(autouse=True)
def surroundings() -> Iterator[None]:
    """Hide the settings of this machine, and remove those that a test leaves."""
    before = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("OPTIM_")}
    yield
    for name in [name for name in os.environ if name.startswith("OPTIM_")]:
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """Return the settings that `optim serve` would have run with."""
    served: list[Settings] = []
    monkeypatch.setattr("app.serve.serve", served.append)
    return served


def flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def flags(name: str, text: str) -> list[str]:
    return [flag(name)] if (name, text) in ON_OR_OFF.items() else [flag(name), text]


def test_every_setting_has_a_text() -> None:
    assert TEXTS.keys() == Settings.model_fields.keys()
    assert WRONG.keys() == Settings.model_fields.keys() - {"host", "ssl_keyfile_password"}


@pytest.mark.parametrize("name", TEXTS)
def test_a_setting_is_read_from_its_variable(name: str, served: list[Settings]) -> None:
    text, value = TEXTS[name]
    os.environ[f"OPTIM_{name.upper()}"] = text
    assert getattr(Settings(), name) == value
    assert CliRunner().invoke(cli.app, ["serve"]).exit_code == 0
    assert getattr(served[0], name) == value


@pytest.mark.parametrize("name", TEXTS)
def test_a_flag_wins_and_reaches_the_server_processes(name: str, served: list[Settings]) -> None:
    text, value = TEXTS[name]
    os.environ[f"OPTIM_{name.upper()}"] = "what is not looked at"
    result = CliRunner().invoke(cli.app, ["serve", *flags(name, text)])
    assert result.exit_code == 0, result.output
    assert getattr(served[0], name) == value
    assert Settings() == served[0]


@pytest.mark.parametrize("form", ["{}\n", "{}\r\n", "\ufeff{}", " {}\t\n", "\n{}\n\n"])
@pytest.mark.parametrize("name", TEXTS)
def test_a_setting_drops_line_breaks_and_byte_order_marks(name: str, form: str) -> None:
    text, value = TEXTS[name]
    form = form.replace(" ", "").replace("\t", "") if name == "ssl_keyfile_password" else form
    os.environ[f"OPTIM_{name.upper()}"] = form.format(text)
    assert getattr(Settings(), name) == value


def test_the_letters_of_a_variable_may_be_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("optim_port", "9000")
    assert Settings().port == 9000
    assert Settings(port=9001).port == 9001


def test_a_password_keeps_its_blanks() -> None:
    os.environ["OPTIM_SSL_KEYFILE_PASSWORD"] = " secret \n"
    assert Settings().ssl_keyfile_password == " secret "


@pytest.mark.parametrize("within", ["\n", "\r", "\x00", "\x1b", "\ufeff"])
@pytest.mark.parametrize("name", ["store", "host", "ssl_keyfile_password", "rate_limit"])
def test_a_control_character_within_a_setting_is_refused(name: str, within: str) -> None:
    text, _ = TEXTS[name]
    with pytest.raises(ValidationError, match="give it in one line"):
        Settings(**{name: text[:3] + within + text[3:]})


def test_a_key_hash_may_be_in_capitals() -> None:
    assert Settings(api_key_sha256="AB" * 32).api_key_sha256 == "ab" * 32


@pytest.mark.parametrize("address", ["tcp://10.96.12.7:8000", "tcp://[fd00::1]:8000", "udp://10.96.12.7:53"])
def test_the_port_is_not_the_address_of_a_kubernetes_service(address: str) -> None:
    os.environ["OPTIM_PORT"] = address
    assert Settings().port == 8000
    assert Settings(port="8897").port == 8897


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in WRONG.items() for text in texts])
def test_a_wrong_setting_is_refused_by_its_name(name: str, text: str, served: list[Settings]) -> None:
    os.environ[f"OPTIM_{name.upper()}"] = text
    with pytest.raises(ValidationError) as raised:
        Settings()
    assert [error["loc"] for error in raised.value.errors()] == [(name,)]
    del os.environ[f"OPTIM_{name.upper()}"]
    result = CliRunner().invoke(cli.app, ["serve", *flags(name, text)], env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert name in ON_OR_OFF or f"{flag(name)} or OPTIM_{name.upper()}" in result.output
    assert served == []


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("port", "abc", "must be a whole number, not 'abc'"),
        ("rate_limit", "3", "'3' cannot be read; write it as 100/second (second, minute, hour or day)"),
        ("lmdb_sync", "off", "must be full or relaxed, not 'off'"),
        ("log_level", "loud", "must be debug, info, warning or error, not 'loud'"),
        ("max_tensors", "-1", "must be 1 or more, not -1"),
        ("max_tensors", "", "must be a whole number, not ''"),
        ("max_tensors", "9" * 5000, f"must be a whole number of fewer digits, not {'9' * 80}"),
        ("head_seconds", "0", "must be above 0, not 0"),
        ("head_seconds", "soon", "must be a number, not 'soon'"),
        ("insecure", "maybe", "must be true or false, not 'maybe'"),
        ("ssl_certfile", "/nope", "must be a file that is there, not '/nope'"),
        ("api_key_sha256", "secret", "must be the SHA-256 of a key: 64 hexadecimal digits"),
    ],
)
def test_a_wrong_value_is_refused_with_the_way_out(
    name: str, text: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"OPTIM_{name.upper()}", text)
    result = CliRunner().invoke(cli.app, ["serve"], env={"COLUMNS": "300"})
    assert result.exit_code == 2
    assert f"Invalid value for {flag(name)} or OPTIM_{name.upper()}: {words}\n" in result.output


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(ValidationError, match="stroe"):
        Settings(stroe="memory:")  # type: ignore[call-arg]
    assert CliRunner().invoke(cli.app, ["serve", "--stroe", "memory:"]).exit_code == 2


def test_settings_are_immutable() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().port = 1


@pytest.mark.parametrize("data", [None, "/data"])
def test_the_default_store_is_in_the_users_data_folder(monkeypatch: pytest.MonkeyPatch, data: str | None) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    if data is None:
        monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    else:
        monkeypatch.setenv("XDG_DATA_HOME", data)
    assert Settings().store == f"lmdb:{data or '/home/me/.local/share'}/optim-service"


def test_a_refusal_never_shows_the_value() -> None:
    os.environ["OPTIM_STORE"] = "postgres://:password@host"
    with pytest.raises(ValidationError) as raised:
        Settings()
    assert "password" not in str(raised.value)
