"""The tools of the languages: those that are missing are named, and so is a build that fails."""

import pytest

from tests.clients import toolchains
from tests.clients.__main__ import main, problems
from tests.clients.languages import LANGUAGES, Language
from tests.clients.toolchains import TOOLS, MissingTool, Tool, require

NOWHERE = Tool(("no-such-command",))


def test_every_tool_of_a_language_is_known() -> None:
    assert {tool for language in LANGUAGES.values() for tool in language.tools} <= TOOLS.keys()


def test_a_tool_that_is_here_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(toolchains.TOOLS, "here", Tool(("sh", "-c", "exit 0"), pypi="no-such-package"))
    require("here")


def test_a_tool_that_cannot_be_had_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(toolchains.TOOLS, "nowhere", NOWHERE)
    with pytest.raises(MissingTool, match=r"nowhere cannot be had: no package has it\. Install it"):
        require("nowhere")
    (problem,) = problems(Language("python", (), tools=("nowhere",)), "http://127.0.0.1:9")
    assert problem.startswith("nowhere cannot be had")


def test_a_missing_tool_fails_the_run_and_names_the_client(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(toolchains.TOOLS, "nowhere", NOWHERE)
    monkeypatch.setitem(LANGUAGES, "cobol", Language("python", (), tools=("nowhere",)))
    assert main(["cobol"]) == 1
    assert capsys.readouterr().out.endswith(
        "cobol: nowhere cannot be had: no package has it. Install it, or leave out the clients that need it\n"
    )


def test_a_failed_build_is_named_and_its_output_shown(capsys: pytest.CaptureFixture[str]) -> None:
    broken = Language("python", (), build=(("sh", "-c", "echo unbuildable; exit 3"),))
    assert list(problems(broken, "http://127.0.0.1:9")) == [
        "`sh -c echo unbuildable; exit 3` failed with status 3; its output is above"
    ]
    assert "unbuildable\n" in capsys.readouterr().out


def test_an_unknown_client_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cobol"]) == 2
    assert "unknown client 'cobol'; expected one of python, c, go" in capsys.readouterr().err
