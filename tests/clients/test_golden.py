"""The golden files: a client reads each answer, and writes the content of each request."""

import json
from pathlib import Path
from typing import Any

from tests.clients.languages import Language
from tests.clients.listing import read
from tests.clients.prover import proving
from tests.contract import GOLDEN

ANSWER = GOLDEN / "adamw" / "1.response.bin"


def exchanges(form: str) -> list[tuple[Path, Path]]:
    """Return every request of a form with its answer; one that is refused is with an answer to another."""
    requests = sorted(GOLDEN.glob(f"*/*.request.{form}"))
    answers = [request.with_name(request.name.replace("request", "response")) for request in requests]
    return [(a, b if b.exists() else ANSWER) for a, b in zip(requests, answers, strict=True)]


def content_of(path: Path) -> dict[str, Any]:
    """Return a message as a prover prints it."""
    if path.suffix == ".json":
        document: dict[str, Any] = json.loads(path.read_bytes())
        return document
    tensors, metadata = read(path.read_bytes())
    shown = {name: {"dtype": d, "shape": shape, "hex": data.hex()} for name, (d, shape, data) in tensors.items()}
    return {"metadata": metadata, "tensors": shown}


def test_a_client_writes_the_requests_and_reads_the_answers(language: Language, tmp_path: Path) -> None:
    pairs = exchanges(language.form)
    assert len(pairs) > 10
    written = [tmp_path / f"{i}.{language.form}" for i in range(len(pairs))]
    files = [str(path) for pair, out in zip(pairs, written, strict=True) for path in (*pair, out)]
    with proving(language, "golden", *files) as prover:
        for (request, response), out in zip(pairs, written, strict=True):
            assert prover.hear() == content_of(response), response
            assert content_of(out) == content_of(request), request
