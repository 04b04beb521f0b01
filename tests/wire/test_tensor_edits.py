"""Edits of tensors as JSON: read, or refused by the member that is wrong."""

from typing import Any

import pytest

from app.errors import MalformedBody
from app.wire.codec import Limits
from app.wire.tensor_edits import read_edits
from optim_engine import Edits

LIMITS = Limits(max_tensors=10, max_name_length=3)


@pytest.mark.parametrize(
    ("document", "edits"),
    [
        ({}, Edits({}, [], [])),
        ({"rename": {"a": "b", "b": "a"}}, Edits({"a": "b", "b": "a"}, [], [])),
        ({"remove": ["c"], "reset": ["abc", "é"]}, Edits({}, ["c"], ["abc", "é"])),
    ],
)
def test_edits_are_read(document: Any, edits: Edits) -> None:
    assert read_edits(document, LIMITS) == edits


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (None, "must be a JSON object"),
        ({"move": {}}, "unknown member 'move'; expected one of rename, remove, reset"),
        ({"rename": []}, "`rename` must be an object"),
        ({"rename": {"a": 1}}, "`rename`"),
        ({"remove": {"a": 1}}, "`remove`"),
        ({"reset": [None]}, "`reset`"),
        ({"rename": {"long": "a"}}, "1 to 3 characters"),
        ({"rename": {"a": "long"}}, "1 to 3 characters"),
        ({"remove": [""]}, "1 to 3 characters"),
    ],
)
def test_malformed_edits_name_what_is_wrong(document: Any, words: str) -> None:
    with pytest.raises(MalformedBody, match=words):
        read_edits(document, LIMITS)
