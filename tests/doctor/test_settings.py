"""The settings: slips, settings without effect and loose files of keys are found."""

from pathlib import Path

import pytest

from app.doctor import settings
from app.settings import Settings


def test_settings_with_an_effect_are_well() -> None:
    (finding,) = settings.examined(Settings(store="memory:"))
    assert finding.level == "ok"


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("OPTIM_LMDB_SYNC", "relaxed", "OPTIM_LMDB_SYNC does nothing: the store is not lmdb:PATH"),
        ("OPTIM_STORE_TIMEOUT_SECONDS", "3", "OPTIM_STORE_TIMEOUT_SECONDS does nothing: the store is no Redis"),
        ("OPTIM_MAX_REGION_BYTES", "1", "OPTIM_MAX_REGION_BYTES does nothing: there is no OPTIM_UNIX_SOCKET"),
        ("OPTIM_STORRE", "memory:", "OPTIM_STORRE is not a setting, and does nothing"),
        ("OPTIM_SERVICE_HOST", "10.1.2.3", "Kubernetes sets OPTIM_PORT and other variables"),
    ],
)
def test_a_setting_without_effect_is_found(monkeypatch: pytest.MonkeyPatch, name: str, value: str, found: str) -> None:
    monkeypatch.setenv(name, value)
    (finding,) = settings.examined(Settings(store="memory:"))
    assert finding.level == "warning"
    assert finding.found.startswith(found)


def test_a_slip_is_answered_with_the_nearest_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTIM_STORRE", "memory:")
    (finding,) = settings.examined(Settings(store="memory:"))
    assert finding.way_out == "Is it OPTIM_STORE?"


def test_a_loose_file_of_keys_is_found(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text('{"keys": []}')
    keys.chmod(0o644)
    (finding,) = settings.examined(Settings(store="memory:", api_keys_file=keys))
    assert finding.check == "modes"
