"""The reaper, which ends all processes of a run with the run."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.reaper import tied

RUN = """
import sys, time
from pathlib import Path
from tests.durability.processes import ServerProcess
from tests.servers import RedisServer

folder = Path(sys.argv[1])
redis = RedisServer(folder).start()
server = ServerProcess(redis.url, folder / "server.log", workers=2)
server.start()
print(redis.pid, server.pid, flush=True)
{end}
"""


@pytest.mark.parametrize("end", ["time.sleep(60)", "raise RuntimeError", "sys.exit()"])
@pytest.mark.long
def test_a_run_that_ends_ends_its_processes(end: str, tmp_path: Path) -> None:
    with tied([sys.executable, "-c", RUN.format(end=end), str(tmp_path)], stdout=subprocess.PIPE) as run:
        assert run.stdout
        processes = [psutil.Process(int(pid)) for pid in run.stdout.readline().split()]
        processes += processes[1].children(recursive=True)
        assert len(processes) >= 4
        if "sleep" in end:
            run.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while any(map(is_alive, processes)):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
