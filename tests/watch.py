"""A watcher that runs the tests of what changed since the last commit, and again at each save. `make watch` starts it.

The tests of a file are those of its name; where there are none, the nearest that import or name it. pytest also loads
this module as a plugin, to stop after `SECONDS`.
"""

import re
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SECONDS = 6
MOST = 6
"""The most test files for a module that has none of its name."""
START = time.monotonic()


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Stop the run when the time is over, and say so."""
    if nextitem is not None and time.monotonic() - START > SECONDS:
        item.session.shouldstop = f"{SECONDS} s are over: `make test` runs them all"


def changed() -> dict[str, int]:
    """Return the files that differ from the last commit, with the times of their last change."""
    commands = ("git diff --name-only HEAD", "git ls-files --others --exclude-standard")
    names = [subprocess.check_output(command.split(), cwd=ROOT, text=True).splitlines() for command in commands]
    paths = {name: ROOT / name for name in sorted({*names[0], *names[1]})}
    return {name: path.stat().st_mtime_ns if path.exists() else 0 for name, path in paths.items()}


def choose(name: str, tests: Mapping[str, str]) -> list[str]:
    """Choose the tests of a file. `tests` has the text of each test file by its path."""
    if name in tests:
        return [name]
    path = Path(name)
    stem = path.parent.name if path.stem == "__init__" else path.stem.lstrip("_")
    named = [test for test in tests if re.fullmatch(rf"test_{re.escape(stem)}(_\w+)?", Path(test).stem)]
    near = sorted(
        (test for test in tests if _mention(path).search(tests[test])), key=lambda test: not _is_near(test, path)
    )
    return named or near[:MOST]


def _is_near(test: str, path: Path) -> bool:
    """Return whether the test is in the folder that mirrors the file's."""
    return Path(test).parent.name == path.parent.name


def _mention(path: Path) -> re.Pattern[str]:
    """Return a pattern that finds the imports of a module, or the name of another file."""
    if path.suffix != ".py":
        return re.compile(re.escape(path.as_posix()))
    parts = path.with_suffix("").as_posix().removeprefix("clients/python/").removesuffix("/__init__").split("/")
    package, module = r"\.".join(parts[:-1]), parts[-1]
    return re.compile(rf"\b{package}\.{module}\b|from {package} import .*\b{module}\b" if package else rf"\b{module}\b")


def run(names: Mapping[str, int]) -> None:
    """Run the tests of these files, those that failed last time first."""
    tests = {
        test.relative_to(ROOT).as_posix(): test.read_text("utf-8") for test in sorted(ROOT.glob("tests/**/test_*.py"))
    }
    chosen = list(dict.fromkeys(test for name in names for test in choose(name, tests)))
    print(f"\n{', '.join(names) or 'nothing'} changed: {', '.join(chosen) or 'no tests'}", flush=True)
    if chosen:
        options = ["-q", "--failed-first", "--maxfail=5", "-m", "not requirement", "-p", "tests.watch"]
        subprocess.run([sys.executable, "-m", "pytest", *options, *chosen], cwd=ROOT, check=False)


def main() -> None:
    """Run the tests whenever what changed is another than before, until Ctrl-C."""
    before: dict[str, int] | None = None
    while True:
        now = changed()
        if now != before:
            run(now)
            before = now
        time.sleep(0.5)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print()
