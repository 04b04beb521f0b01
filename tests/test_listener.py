"""The listening socket: addresses that other machines reach need keys."""

from pathlib import Path

import pytest

from app import listener
from app.settings import Settings


def test_only_insecure_or_keyed_services_listen_for_other_machines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text('{"keys": []}')
    for setting, value in {"insecure": True, "api_keys_file": keys, "api_key_sha256": "0" * 64}.items():
        listener.check_reach(Settings(store="memory:", host="0.0.0.0", **{setting: value}), "0.0.0.0")
    for loopback in ("127.0.0.1", "127.1.2.3", "::1"):
        listener.check_reach(Settings(store="memory:"), loopback)
    for reached in ("0.0.0.0", "::", "10.0.0.1", "fe80::1%eth0", "8.8.8.8"):
        with pytest.raises(ValueError, match="can be reached by other machines"):
            listener.check_reach(Settings(store="memory:"), reached)
