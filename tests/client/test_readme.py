"""The pages for clients: the code of the README runs, its figures are the defaults, and the contract is listed."""

import io
import re
from pathlib import Path
from typing import Any

import pytest
from optim_client import Client, InvalidSession, OptimError, _calls, errors, session_errors

from app.demo.server import Server

CLIENTS = Path(__file__).parents[2] / "clients"
README = CLIENTS / "python" / "README.md"


@pytest.mark.long
def test_the_loop_in_the_readme_finds_the_line(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    code = README.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    exec(code.replace("http://127.0.0.1:8000", server.url), {})
    step, *_, line = capsys.readouterr().out.splitlines()
    assert step.startswith("200 Metrics(lr=")
    found = eval(line)
    assert found["slope"] == pytest.approx(3, abs=0.1)
    assert found["bias"] == pytest.approx(1, abs=0.1)


@pytest.mark.long
def test_every_example_in_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 11
    names: dict[str, Any] = {}
    for block in blocks:
        exec(block.replace("http://127.0.0.1:8000", "memory:"), names)
    assert [names[name].info.step for name in ("session", "copy", "held")] == [1, 1, 1]


def test_the_page_says_the_defaults() -> None:
    client = Client("http://127.0.0.1:1")
    said = " ".join(README.read_text(encoding="utf-8").split())
    assert f"waits {client.timeout.connect:g} s for a connection and {client.timeout.read:g} s for progress" in said
    assert f"is tried again for {client.retry_seconds:g} s since its first failure" in said
    assert client.max_retries is None


def test_the_page_lists_every_error() -> None:
    rows = re.findall(r"^\| (`\w+`.*?) \|", README.read_text(encoding="utf-8").split("## Errors")[1], re.MULTILINE)
    listed = [name for row in rows for name in re.findall("`(.*?)`", row)]
    assert sorted(listed) == sorted(
        name
        for name, kind in (vars(errors) | vars(session_errors)).items()
        if isinstance(kind, type) and issubclass(kind, OptimError) and kind is not OptimError
    )


def test_settings_are_refused_by_the_service_as_the_page_says() -> None:
    said = README.read_text(encoding="utf-8")
    with Client("memory:") as client:
        for example in ('lr="0.1"', 'schedule="cosine"', "learning_rate=0.1"):
            assert f"`{example}`" in said
            with pytest.raises(InvalidSession):
                eval(f"create('adamw', {example})", {"create": client.sessions.create})


def test_the_page_names_the_verbs_of_the_services_paths() -> None:
    said = " ".join(README.read_text(encoding="utf-8").split())
    for verb, call in {
        "edit_tensors": _calls.edit_tensors("s", {}, [], []),
        "put_params": _calls.put_params("s", {}),
        "load_state": _calls.put_state("s", io.BytesIO()),
    }.items():
        path = call.request.path.removeprefix("/v1/sessions/s")
        assert f"`{call.request.method} …{path}` is `{verb}`" in said


def test_the_page_tells_how_to_use_every_contract_file() -> None:
    table, _, uses = (
        (CLIENTS / "README.md").read_text(encoding="utf-8").split("## Proving it")[1].partition("right when")
    )
    for path in (CLIENTS / "contract").iterdir():
        assert f"`{path.name}" in table
        assert path.stem in uses
