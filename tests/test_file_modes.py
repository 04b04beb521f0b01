"""Files that other users may read or write: the service reports each once at its start, with the fix."""

import json
import shlex
import subprocess
from pathlib import Path

import pytest

from app.file_modes import loose
from app.settings import Settings
from app.store import open_store
from tests.durability.processes import ServerProcess
from tests.servers import RedisServer

NO_KEYS = json.dumps({"keys": []})


@pytest.mark.parametrize(
    ("mode", "may"), [(0o640, "read"), (0o604, "read"), (0o620, "written"), (0o666, "read and written")]
)
def test_a_file_open_to_others_is_reported_with_the_fix(tmp_path: Path, mode: int, may: str) -> None:
    file = tmp_path / "a file"
    file.write_text("")
    file.chmod(mode)
    (line,) = loose([file])
    assert line.startswith(
        f"{file} may be {may} by other users of this machine (its mode is {mode:04o}): run chmod 600"
    )
    subprocess.run(shlex.split(line.partition(": run ")[2]), check=True)
    assert loose([file]) == []


def test_a_private_file_is_not_reported(tmp_path: Path) -> None:
    for mode in (0o700, 0o711, 0o600, 0o400):
        tmp_path.chmod(mode)
        assert loose([tmp_path]) == []
    tmp_path.chmod(0o700)
    assert loose([tmp_path / "none"]) == []


def test_another_users_file_may_be_read_by_the_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "keys.json"
    file.write_text(NO_KEYS)
    monkeypatch.setattr("os.geteuid", lambda: file.stat().st_uid + 1)  # so that the file is not this user's
    for mode, lines in ((0o440, 0), (0o460, 1), (0o444, 1)):
        file.chmod(mode)
        assert len(loose([file])) == lines
    file.chmod(0o440)
    monkeypatch.setattr("os.getgroups", list)
    monkeypatch.setattr("os.getegid", lambda: file.stat().st_gid + 1)
    assert len(loose([file])) == 1


async def test_a_store_reports_its_own_open_files(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    async with open_store(Settings(store=f"lmdb:{folder}")) as store:
        assert await store.warnings() == []
        folder.chmod(0o755)
        (folder / "data.mdb").chmod(0o644)
        (folder / "lock.mdb").chmod(0o660)
        assert [line.partition(": run ")[2] for line in await store.warnings()] == [
            f"chmod 700 {folder}", f"chmod 600 {folder / 'data.mdb'}", f"chmod 600 {folder / 'lock.mdb'}"
        ]  # fmt: skip


def warnings_of(store: str, folder: Path, *options: str) -> list[str]:
    """Return the log of a service with two workers until it answers."""
    server = ServerProcess(store, folder / "log", 2, ["--log-format=json", *options])
    server.start()
    server.kill()
    return [json.loads(line)["event"] for line in server.log().splitlines()]


@pytest.mark.long
def test_two_workers_report_each_file_once(tmp_path: Path) -> None:
    folder, keys = tmp_path / "store", tmp_path / "keys.json"
    folder.mkdir(mode=0o755)
    keys.write_text(NO_KEYS)
    keys.chmod(0o644)
    warnings = warnings_of(f"lmdb:{folder}", tmp_path, f"--api-keys-file={keys}")
    assert [line.partition(": run ")[2] for line in warnings] == [f"chmod 700 {folder}", f"chmod 600 {keys}"]


@pytest.mark.long
def test_a_redis_without_append_only_file_is_reported_once(own_redis: RedisServer, tmp_path: Path) -> None:
    with own_redis.client() as admin:
        admin.config_set("appendonly", "no")
    (line,) = warnings_of(own_redis.url, tmp_path)
    assert "no append-only file" in line
