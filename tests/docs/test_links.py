"""Links between the documents, and the files and tests that they name."""

import re
from pathlib import Path

import pytest

from tests.docs.blocks import DOCUMENTS, ROOT, anchors, name_of, read


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_link_leads_somewhere(document: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8")):
        if not link.startswith(("http://", "https://")):
            path, _, anchor = link.partition("#")
            target = (document.parent / path) if path else document
            assert target.exists(), link
            assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), link


def test_every_room_is_there() -> None:
    rooms = re.findall(r"`((?:app|optim_engine|clients|tests|docs|examples)/[\w./-]*)`", read("CONTRIBUTING.md"))
    assert len(rooms) > 40
    for room in rooms:
        assert (ROOT / room).exists(), room


def test_every_named_test_exists() -> None:
    tests = "".join(path.read_text(encoding="utf-8") for path in ROOT.glob("tests/**/test_*.py"))
    for document in DOCUMENTS:
        for name in re.findall(r"`(test_\w+)`", document.read_text(encoding="utf-8")):
            assert f"def {name}(" in tests, f"{name_of(document)}: {name}"


def test_every_document_can_be_reached_from_the_readme() -> None:
    reached, waiting = set[Path](), [ROOT / "README.md"]
    while waiting:
        document = waiting.pop()
        reached.add(document)
        for link in re.findall(r"\]\(([^)\s#]+)", document.read_text(encoding="utf-8")):
            target = (document.parent / link).resolve()
            target = target / "README.md" if target.is_dir() else target
            if target.suffix == ".md" and target.exists() and target not in reached:
                waiting.append(target)
    assert set(DOCUMENTS) - reached == set()
