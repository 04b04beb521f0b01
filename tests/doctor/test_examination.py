"""The examination: its findings, in their order."""

from pathlib import Path

import pytest

from app.doctor.examination import findings
from app.settings import Settings


def test_store_service_settings_and_machine_are_examined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("optim_client._address.DEFAULT_BASE_URL", "http://127.0.0.1:1")
    checks = [each.check for each in findings(Settings(store=f"lmdb:{tmp_path / 'new'}"), "lmdb:new", None)]
    assert checks[0] == "store"
    assert checks[-6:] == ["service", "settings", "system", "kernel", "memory", "files"]
