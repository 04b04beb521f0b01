"""The package as a whole: its imports."""

import subprocess
import sys


def test_importing_the_client_imports_nothing_of_the_server() -> None:
    code = "import sys, optim_client; assert not {'app', 'optim_engine', 'fastapi', 'ml_dtypes.app'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=30).returncode == 0
