"""The examples learn, and the documents' Python runs."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.docs.blocks import DOCUMENTS, ROOT, blocks, name_of, read, rows


def run(program: str, url: str, path: str = os.environ["PATH"], arguments: Sequence[str] = (), beside: str = "") -> str:
    """Run an example; return its output. `beside` is the pattern of what it writes to stderr."""
    command = ["sh"] if program.endswith(".sh") else [sys.executable]
    environment = os.environ | {"OPTIM_BASE_URL": url, "PATH": path}
    result = subprocess.run(
        [*command, f"examples/{program}", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert re.fullmatch(beside, result.stderr, re.DOTALL), result.stderr
    return result.stdout


@pytest.mark.long
def test_curl_finds_the_least(url: str, path: str) -> None:
    assert run("shell.sh", url, path) == "x = 3.00, after step 12\n"


@pytest.mark.long
def test_the_line_is_found(url: str) -> None:
    found = re.search(r"^y = (\S+) x \+ (\S+)$", run("line.py", url), re.MULTILINE)
    assert found
    assert float(found[1]) == pytest.approx(2, abs=0.05)
    assert float(found[2]) == pytest.approx(-1, abs=0.05)


@pytest.mark.long
def test_the_embedding_table_learns_the_kinds_of_items(url: str) -> None:
    known = [int(share) for share in re.findall(r"rows   (\d+)% of", run("embedding.py", url, arguments=["20000"]))]
    assert known[-1] > 80 > 40 > known[0]


@pytest.mark.long
def test_the_network_reads_digits(url: str) -> None:
    bar = r".* 300/300 \[.* steps/s, loss [\d.]+, .*\] *\n"
    session, read_rightly = run("mlp.py", url, beside=bar).splitlines()
    assert re.match(r"<Session \w+ adamw at step 300, loss ", session)
    assert float(read_rightly.partition("%")[0]) > 94


@pytest.mark.long
def test_clipping_and_a_schedule_find_the_line(url: str) -> None:
    rows = re.findall(r"(\d+) steps clipped .* off by (\S+)$", run("schedule_and_clip.py", url), re.MULTILINE)
    (none, far), (some, near), (_, nearest) = [(int(clipped), float(off)) for clipped, off in rows]
    assert none == 0 < some
    assert far > 1 > near > nearest


@pytest.mark.long
def test_two_processes_take_turns_to_the_same_bits(url: str) -> None:
    assert run("two_processes.py", url).startswith("two processes, after step 60: the same bits, 1 - 2x + 3x² has [")


@pytest.mark.long
def test_four_processes_train_to_the_bits_of_one(url: str) -> None:
    found = re.fullmatch(
        r"four processes, after step 100: the same bits, (\S+)% of new .*\n", run("data_parallel.py", url)
    )
    assert found
    assert float(found[1]) > 90


@pytest.mark.long
def test_four_workers_learn_by_diloco(url: str) -> None:
    *rounds, last = run("federated.py", url).splitlines()
    found = re.fullmatch(r"diloco: (\S+)% of new digits are read rightly", last)
    assert found
    assert len(rounds) == 20
    assert float(found[1]) >= 95


@pytest.mark.long
def test_killed_trainers_and_services_end_at_the_same_bits() -> None:
    retries = "(POST .*: no answer .*\nPOST .*: answered, .*\n)*"
    said = run("crash.py", "http://127.0.0.1:1", beside=retries)
    assert re.findall(r"^(\w+) +undisturbed, and with 3 kills: the same bits, ", said, re.MULTILINE) == ["held", "own"]


@pytest.mark.long
def test_a_killed_checkpoints_example_resumes_to_the_same_bits(url: str, tmp_path: Path) -> None:
    unbroken = checkpoints(url, tmp_path / "unbroken")
    for least in (25, 100, 250):
        program = [sys.executable, "examples/checkpoints.py", str(tmp_path / "killed")]
        with subprocess.Popen(
            program, cwd=ROOT, env=os.environ | {"OPTIM_BASE_URL": url}, stdout=subprocess.DEVNULL
        ) as killed:
            while not any(int(made.name) >= least for made in (tmp_path / "killed").glob("[0-9]*")):
                assert killed.poll() is None
                time.sleep(0.01)
            killed.kill()
    resumed = checkpoints(url, tmp_path / "killed")
    assert re.match(r"goes on after step (250|275|300|325|350|375|400)\n", resumed)
    assert resumed.endswith(unbroken)


def checkpoints(url: str, folder: Path) -> str:
    program = [sys.executable, "examples/checkpoints.py", str(folder)]
    environment = os.environ | {"OPTIM_BASE_URL": url}
    result = subprocess.run(program, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return result.stdout


@pytest.mark.long
def test_every_optimizer_finds_the_valley() -> None:
    heights = re.findall(r"height (\S+)", run("notebook.py", "http://127.0.0.1:1"))
    assert len(heights) == 4
    assert all(float(height) < 0.05 for height in heights)


@pytest.mark.long
def test_muon_beside_adamw_needs_fewer_steps(url: str) -> None:
    found = re.search(r"^muon and adamw: (\S+) steps, adamw alone: (\S+) steps$", run("muon.py", url), re.MULTILINE)
    assert found
    assert float(found[1]) < float(found[2]) < 60


def test_git_ignores_what_an_example_leaves() -> None:
    [folder] = re.findall(r'else "(\w+)"\)', read("examples/checkpoints.py"))
    assert f"/{folder}/" in read(".gitignore").splitlines()


def test_every_example_has_a_row() -> None:
    named = {re.findall(r"\[`(.*?)`\]", row[0])[0] for row in rows(read("examples/README.md"))}
    folder = ROOT / "examples"
    pages = {file.parent.name for file in folder.glob("*/README.md")}
    assert named == pages | {file.name for file in folder.iterdir() if file.suffix in (".py", ".sh", ".mjs")}


@pytest.mark.parametrize("document", [d for d in DOCUMENTS if blocks(d.read_text("utf-8"), "python")], ids=name_of)
def test_the_python_of_a_document_runs(document: Path, here: Callable[[str], str], tmp_path: Path) -> None:
    code = "\n".join(blocks(document.read_text(encoding="utf-8"), "python"))
    result = subprocess.run(
        [sys.executable, "-c", here(code)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")
