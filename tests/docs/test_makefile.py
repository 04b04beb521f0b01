"""The Makefile: `make` alone lists its targets."""

import os
import re
import subprocess

from tests.docs.blocks import ROOT, read


def test_make_alone_lists_every_target_with_its_words() -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL")}
    listed = subprocess.check_output(["make", "--no-print-directory"], cwd=ROOT, env=environment, text=True)
    (targets,) = re.findall(r"^\.PHONY: (.*)$", read("Makefile"), re.MULTILINE)
    assert sorted(re.findall(r"^  make (\w+) +\w+", listed, re.MULTILINE)) == sorted(targets.split())
