"""The command `optim`, typed in this process: its exit status, its output, and what it said on standard error."""

from collections.abc import Callable

import pytest

from app import cli

Optim = Callable[..., tuple[int, str, str]]


def typed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str, **environment: str
) -> tuple[int, str, str]:
    """Type a command with these variables; return its exit status, its output and its errors."""
    monkeypatch.setattr("sys.argv", ["optim", *words])
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert isinstance(end.value.code, int)
    return end.value.code, *capsys.readouterr()
