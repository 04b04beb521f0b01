"""The picture of docs/operating.md: `python -m docs.images.make_operating_pictures` draws what commands print."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

import numpy as np
from optim_client import Client

from tests.durability.processes import ServerProcess
from tests.servers import RedisServer

REDIS = "redis://127.0.0.1:6379/0"
COMMANDS = (
    "optim backup monday --store lmdb:store",
    "optim backup --verify monday",
    f"optim restore monday --store {REDIS}",
)
PARAMETERS = 1_000_000
COLUMNS, LINE, LEFT, TOP = 96, 21, 20, 40

STYLE = """
  text { font: 13px ui-monospace, "SF Mono", "DejaVu Sans Mono", Menlo, Consolas, monospace; fill: #1f2328 }
  .prompt { fill: #1a7f37; font-weight: 600 } .command { font-weight: 600 }
  .card { fill: #f6f8fa; stroke: #d0d7de }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc } .prompt { fill: #3fb950 } .card { fill: #0d1117; stroke: #3d444d }
  }
"""


def main() -> None:
    """Write the picture and print its path."""
    path = Path(__file__).with_name("operating_backup.svg")
    with tempfile.TemporaryDirectory() as folder:
        path.write_text(picture(transcript(Path(folder))), encoding="utf-8")
    print(path)


def transcript(folder: Path) -> list[tuple[str, str]]:
    """Run the commands on three sessions; return each with what it printed."""
    server = ServerProcess(f"lmdb:{folder / 'store'}", folder / "log", options=["--compute-threads=1"])
    (folder / "redis").mkdir()
    redis = RedisServer(folder / "redis")
    try:
        server.start()
        train(server.url)
        redis.start()
        return [
            (command, printed(command.replace(REDIS, redis.url), folder).replace(redis.url, REDIS))
            for command in COMMANDS
        ]
    finally:
        server.kill()
        redis.kill()


def train(url: str) -> None:
    """Take a step of each of three sessions."""
    w = {"w": np.ones(PARAMETERS, np.float32)}
    with Client(url) as client:
        for optimizer in ("adamw", "lion", "sgd"):
            client.sessions.create(optimizer, hold_params=True).step(w, w)


def printed(command: str, folder: Path) -> str:
    """Run a command of `optim` in the folder; return what it prints."""
    root = str(Path(__file__).parents[2])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((root, os.environ.get("PYTHONPATH", "")))}
    words = [sys.executable, "-m", "app.cli", *command.split()[1:]]
    result = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=True)  # noqa: S603
    return result.stdout.strip()


def picture(lines: Sequence[tuple[str, str]]) -> str:
    """Return the commands and what they printed as SVG."""
    rows = list(_rows(lines))
    width, height = 2 * LEFT + COLUMNS * 7.83, TOP + LINE * len(rows)
    view = f'viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" height="{height}"'
    label = f'role="img" aria-label="{escape(" ".join(command for command, _ in lines))}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {view} {label}>\n<style>{STYLE}</style>\n'
        f'<rect class="card" x="0.5" y="0.5" width="{width - 1:.0f}" height="{height - 1}" rx="8"/>\n'
        + "".join(f'<text x="{LEFT}" y="{TOP + LINE * i - 8}">{row}</text>\n' for i, row in enumerate(rows))
        + "</svg>\n"
    )


def _rows(lines: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Yield the rows of the terminal, which has `COLUMNS` columns."""
    for command, output in lines:
        yield f'<tspan class="prompt">$</tspan> <tspan class="command">{escape(command)}</tspan>'
        for line in output.splitlines():
            yield from (escape(line[start : start + COLUMNS]) for start in range(0, len(line), COLUMNS))


if __name__ == "__main__":
    main()
