"""Log lines: their level, form and parts."""

import json
import logging
import os
import re
import subprocess
import sys
import time
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

import pytest
from httpx2 import Client

from app.logs import CHATTER, LOGGERS, REQUEST_ID, configure_logs, log
from tests.reaper import tied
from tests.web.logs import Logs, captured


def test_a_console_line_has_the_same_parts(client: Client, logs: Logs) -> None:
    logs.configure("info", "console")
    answer = client.get("/v1/sessions", headers={"x-request-id": "mine"})
    assert answer.status_code == 200
    (line,) = logs.text().splitlines()
    for part in ("request", "GET", "/v1/sessions", "200", "mine"):
        assert part in line


@pytest.mark.parametrize(("level", "seen"), [("debug", 2), ("info", 1), ("warning", 0), ("error", 0)])
def test_the_log_level_is_a_setting(client: Client, logs: Logs, level: str, seen: int) -> None:
    logs.configure(level, "json")
    client.get("/livez")
    client.get("/v1/sessions")
    assert len(logs.lines()) == seen


@pytest.mark.long
def test_a_log_file_has_no_colours(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        command = [sys.executable, "-m", "app.cli", "serve", "--port=0", "--store=memory:"]
        with tied(command, stderr=log) as server:
            deadline = time.monotonic() + 30
            while "listening" not in (tmp_path / "log").read_text():
                assert time.monotonic() < deadline
                time.sleep(0.02)
            server.terminate()
    text = (tmp_path / "log").read_text()
    assert "\x1b" not in text
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ \[info +\] listening url=http://127\.0\.0\.1:\d+ ", text)


def test_only_warnings_are_seen_until_logs_are_configured() -> None:
    """Keep a service inside of another program quiet."""
    code = "from app.logs import log; log.info('not this'); log.warning('this', n=1)"
    said = subprocess.run([sys.executable, "-c", code], env=os.environ, capture_output=True, text=True, check=True)
    assert "not this" not in said.stdout + said.stderr
    assert "this" in said.stderr


@pytest.mark.parametrize("name", LOGGERS)
def test_every_logger_writes_the_one_form(logs: Logs, name: str) -> None:
    logging.getLogger(f"{name}.part").warning("full: %s", "disk")
    (line,) = logs.lines()
    assert (line["event"], line["level"]) == ("full: disk", "warning")
    assert line["timestamp"].endswith("Z")


def test_what_goes_without_saying_is_left_out(logs: Logs) -> None:
    for words in CHATTER:
        logging.getLogger("uvicorn.error").info("%s [1].", words)
    assert logs.text() == ""


def test_the_id_of_a_request_ends_each_of_its_lines(logs: Logs) -> None:
    token = REQUEST_ID.set("mine")
    try:
        log.info("swept", removed=1)
        logging.getLogger("app").info("from elsewhere")
        log.info("given", request_id="another")
    finally:
        REQUEST_ID.reset(token)
    log.info("later")
    lines = logs.lines()
    assert [line.get("request_id") for line in lines] == ["mine", "mine", "another", None]


def test_an_exception_is_a_member_of_its_line(logs: Logs) -> None:
    try:
        raise ZeroDivisionError("deep inside")
    except ZeroDivisionError:
        log.exception("request failed", path="/")
    (line,) = logs.lines()
    assert (line["event"], line["level"], line["path"]) == ("request failed", "error", "/")
    assert line["exception"].startswith("Traceback")
    assert "ZeroDivisionError: deep inside" in line["exception"]


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def shown(stream: StringIO, form: str) -> str:
    """Return a warning in that form, as the stream gets it, without its time."""
    with captured(), redirect_stderr(stream):
        configure_logs("info", form)
        log.warning("disk 97% full", path=Path("/data"), free="3 GB", left=1.5, host="a-b", mount=None)
    return re.sub(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?Z", "TIME", stream.getvalue())


def test_a_line_for_people_quotes_what_has_blanks() -> None:
    line = f"TIME [warning  ] disk 97% full path={Path('/data')!r} free='3 GB' left=1.5 host=a-b mount=None\n"
    assert shown(StringIO(), "console") == line


def test_a_line_on_a_terminal_has_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    painted = shown(Terminal(), "console")
    assert painted.startswith(
        "\x1b[2mTIME\x1b[0m [\x1b[33m\x1b[1mwarning  \x1b[0m] \x1b[1mdisk 97% full\x1b[0m \x1b[36mpath"
    )
    assert re.sub(r"\x1b\[\d+m", "", painted) == shown(StringIO(), "console")
    monkeypatch.setenv("NO_COLOR", "1")
    assert shown(Terminal(), "console") == shown(StringIO(), "console")


def test_a_line_for_machines_has_fields_event_level_and_time() -> None:
    line = shown(StringIO(), "json")
    fields = {"path": repr(Path("/data")), "free": "3 GB", "left": 1.5, "host": "a-b", "mount": None}
    assert list(json.loads(line).items()) == [
        *fields.items(), ("event", "disk 97% full"), ("level", "warning"), ("timestamp", "TIME"),
    ]  # fmt: skip


def test_another_programs_handler_shows_the_fields(caplog: pytest.LogCaptureFixture) -> None:
    log.warning("sweep failed", error="no room")
    assert caplog.messages == ["sweep failed error='no room'"]
