"""The package as a whole: its imports, and its modules, each of which has tests of its name."""

import subprocess
import sys
from pathlib import Path

import optim_client

HERE = Path(__file__).parent


def test_importing_the_client_imports_nothing_of_the_server() -> None:
    code = "import sys, optim_client; assert not {'app', 'optim_engine', 'fastapi', 'ml_dtypes.app'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=30).returncode == 0


def test_every_module_has_tests_of_its_name() -> None:
    """Twins share their tests: those of `_session.py` and `_async_session.py` are in `test_session.py`."""
    modules = {path.stem for path in Path(optim_client.__path__[0]).glob("*.py")} - {"__init__"}
    nouns = {module.removeprefix("_").removeprefix("async_") for module in modules}
    assert [noun for noun in sorted(nouns) if not (HERE / f"test_{noun}.py").exists()] == []
