"""The commands `optim sessions export` and `import`, as they are typed."""

from pathlib import Path

import pytest

from tests.command import Optim
from tests.commands.service import new_session


def test_an_export_names_the_missing_folder(optim: Optim, url: str, tmp_path: Path) -> None:
    file = tmp_path / "none" / "state.safetensors"
    status, _, words = optim("sessions", "export", new_session(url), str(file), "--url", url)
    assert (status, words) == (3, f"optim: [Errno 2] no such folder: '{file.parent}'\n")


@pytest.mark.parametrize("words", [(), ("a", "b", "c")])
def test_an_import_takes_a_file_and_at_most_one_session(optim: Optim, url: str, words: tuple[str, ...]) -> None:
    status, out, said = optim("sessions", "import", *words, "--url", url, COLUMNS="200")
    assert (status, out) == (2, "")
    assert "Missing argument '[ID] FILE'" in said or "expected at most one session, and one file" in said


def test_an_unreadable_file_is_reported_in_one_line(optim: Optim, url: str) -> None:
    for ids in ((), (new_session(url),)):
        status, _, words = optim("sessions", "import", *ids, "/nowhere", "--url", url)
        assert (status, words) == (3, "optim: [Errno 2] No such file or directory: '/nowhere'\n")
