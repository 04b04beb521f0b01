"""A fake `docker compose` with the service `redis` of docker-compose.yml, for machines without Docker.

The commands run on a real Redis with the file's options; the volume is a folder.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

from tests.servers import RedisServer

ROOT = Path(__file__).parents[1]
DOCKER = f"""#!{sys.executable}
import sys
sys.path.insert(0, {str(ROOT)!r})
from tests.compose import docker
docker(sys.argv[1:])
"""


def options() -> list[str]:
    """Return Redis's options in the compose file."""
    found = re.search(r"command: \[redis-server, (.*)\]", (ROOT / "docker-compose.yml").read_text())
    assert found
    return [word.strip('"') for word in found[1].split(", ")]


class Compose:
    """The stack, up or down, and the environment whose `docker` is the fake one."""

    def __init__(self, folder: Path) -> None:
        self.volume, bin_folder = folder / "volume", folder / "bin"
        self.volume.mkdir()
        bin_folder.mkdir()
        (bin_folder / "docker").write_text(DOCKER)
        (bin_folder / "docker").chmod(0o755)
        self.redis = RedisServer(self.volume, *options())
        self.environment = os.environ | {
            "PATH": f"{bin_folder}:{os.environ['PATH']}",
            "COMPOSE_VOLUME": str(self.volume),
            "COMPOSE_REDIS_PORT": str(self.redis.port),
        }

    def run(self, line: str) -> "subprocess.CompletedProcess[str]":
        """Run an operator's line of shell, in the folder that has the volume."""
        return subprocess.run(
            line, shell=True, cwd=self.volume.parent, env=self.environment, capture_output=True, text=True, check=False
        )


def docker(arguments: list[str]) -> None:
    """Run the container's command, as the image does."""
    match arguments:
        case ["compose", "run", "--rm", "--no-deps", "--user", _, "--volume", volume, "optim", *words]:
            optim(volume, words)
        case ["compose", "run", "--rm", "--no-deps", "redis", *command]:
            os.chdir(os.environ["COMPOSE_VOLUME"])
            os.execvp(command[0], command)
        case _:
            sys.exit(f"not known: {arguments}")


def optim(volume: str, words: list[str]) -> NoReturn:
    """Run the service's container, to which a folder of the machine is lent."""
    outside, inside = volume.split(":")
    words = [word.replace(inside, os.path.realpath(outside), 1) for word in words]
    store = {"OPTIM_STORE": f"redis://127.0.0.1:{os.environ['COMPOSE_REDIS_PORT']}/0"}
    os.chdir(ROOT)
    os.execve(sys.executable, [sys.executable, "-m", "app.cli", *words], os.environ | store)
