"""The package where neither JAX nor optax is installed."""

import subprocess
import sys

import pytest

WITHOUT = "import sys; sys.modules['jax'] = sys.modules['optax'] = None\n"
"""A start that makes an import of either fail as if it were not there."""


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", WITHOUT + code], capture_output=True, text=True, check=False)


@pytest.mark.long
def test_npz_files_need_numpy_alone() -> None:
    code = "from optim_client.optax import export_npz, import_npz; import optim_client.optax as o; assert dir(o)"
    assert (run(code).returncode, run(code).stderr) == (0, "")


@pytest.mark.long
def test_an_import_that_needs_jax_says_what_to_install() -> None:
    for name in ("remote", "multi_steps", "typed_errors", "load_optax_state"):
        error = run(f"from optim_client.optax import {name}").stderr
        assert f"ImportError: optim_client.optax.{name} needs jax and optax: pip install optax" in error


def test_an_unknown_name_is_no_attribute() -> None:
    assert "cannot import name 'remot'" in run("from optim_client.optax import remot").stderr
