"""Variables that look like settings: those that nothing reads are found, with the nearest name."""

import pytest

from app.stray_settings import has_links, strays


def test_a_slip_is_told_with_the_nearest_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPTIM_STROE", "OPTIM_MAX_BODY", "OPTIM_XYZ", "OPTIM_API_KEY", "OPTIM_PORT"):
        monkeypatch.setenv(name, "8000")
    assert strays() == {"OPTIM_STROE": "OPTIM_STORE", "OPTIM_MAX_BODY": "OPTIM_MAX_BODY_BYTES", "OPTIM_XYZ": None}
    assert not has_links()


@pytest.mark.parametrize(
    ("name", "value"), [("OPTIM_PORT", "tcp://10.96.12.7:8000"), ("OPTIM_SERVICE_HOST", "10.96.12.7")]
)
def test_variables_of_kubernetes_are_no_slips(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    assert has_links()
    assert strays() == {}
