"""The modes of files: a finding for each that others may read, with the command that keeps them out."""

from pathlib import Path

from app.doctor import modes


def test_a_loose_file_is_found_with_its_chmod(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.touch(0o644)
    file.chmod(0o644)
    (finding,) = modes.examined([file])
    assert finding.way_out == f"Run chmod 600 {file}"
    file.chmod(0o600)
    assert list(modes.examined([file])) == []
