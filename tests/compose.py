"""A fake `docker compose` with the service `redis` of docker-compose.yml, for machines without Docker.

The commands run on a real Redis with the file's options; the volume is a folder.
"""

import os
import re
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import redis

from tests.servers import RedisServer

ROOT = Path(__file__).parents[1]
DOCKER = f"""#!{sys.executable}
import sys
sys.path.insert(0, {str(ROOT)!r})
from tests.compose import docker
docker(sys.argv[1:])
"""
REDIS_CLI = f"""#!{sys.executable}
import sys
sys.path.insert(0, {str(ROOT)!r})
from tests.compose import redis_cli
redis_cli(sys.argv[1:])
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
        for name, text in (("docker", DOCKER), ("redis-cli", REDIS_CLI)):
            (bin_folder / name).write_text(text)
            (bin_folder / name).chmod(0o755)
        self.redis = RedisServer(self.volume, *options())
        self.environment = os.environ | {
            "PATH": f"{bin_folder}:{os.environ['PATH']}",
            "COMPOSE_VOLUME": str(self.volume),
            "COMPOSE_REDIS_PORT": str(self.redis.port),
        }

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """Run an operator's command in the root of the repository."""
        return subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True, check=False)


def docker(arguments: list[str]) -> None:
    """Run the container's command in the folder of its volume, as the image does."""
    match arguments:
        case ["compose", "exec", "-T", "redis", *command]:
            if not _runs():
                sys.exit('service "redis" is not running')
        case ["compose", "run", "--rm", "--no-deps", *rest] if "redis" in rest:
            command = rest[rest.index("redis") + 1 :]
        case ["compose", "version"]:
            command = ["true"]
        case ["compose", "ps", "--quiet", "--status", "running", *_]:
            command = ["echo", "9f86d081"] if _runs() else ["true"]
        case _:
            sys.exit(f"not known: {arguments}")
    os.chdir(os.environ["COMPOSE_VOLUME"])
    os.execvp(command[0], command)


def redis_cli(arguments: list[str]) -> None:
    """Run the real `redis-cli` if it is installed, else do the part of it that is used."""
    others = os.environ["PATH"].partition(os.pathsep)[2]
    if real := shutil.which("redis-cli", path=others):
        os.execv(real, [real, "-p", os.environ["COMPOSE_REDIS_PORT"], *arguments])
    with redis.Redis(port=int(os.environ["COMPOSE_REDIS_PORT"]), protocol=2, decode_responses=True) as client:
        match arguments:
            case ["--scan", "--pattern", pattern]:
                for key in client.scan_iter(pattern):
                    print(key)
            case ["INFO", section]:
                print("\r\n".join(f"{name}:{value}" for name, value in client.info(section).items()))
            case [*command]:
                print(client.execute_command(*command))


def _runs() -> bool:
    with suppress(redis.ConnectionError), redis.Redis(port=int(os.environ["COMPOSE_REDIS_PORT"]), protocol=2) as client:
        return bool(client.ping())
    return False
