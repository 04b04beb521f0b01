"""The Makefile: `make` alone lists its targets."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, read


def test_make_alone_lists_every_target_with_its_words() -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL")}
    listed = subprocess.check_output(["make", "--no-print-directory"], cwd=ROOT, env=environment, text=True)
    (targets,) = re.findall(r"^\.PHONY: (.*)$", read("Makefile"), re.MULTILINE)
    assert sorted(re.findall(r"^  make (\w+) +\w+", listed, re.MULTILINE)) == sorted(targets.split())


@pytest.mark.parametrize(
    ("target", "reason"), [("backup", "say where to: make backup"), ("restore", "say where from: make restore")]
)
def test_a_missing_argument_is_named_before_anything_is_installed(target: str, reason: str, tmp_path: Path) -> None:
    command = ["make", f"--file={ROOT / 'Makefile'}", "PYTHON=false", target]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert reason in result.stderr
    assert list(tmp_path.iterdir()) == []
