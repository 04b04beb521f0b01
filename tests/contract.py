"""The contract as data, from `clients/contract`, for the tests of the service, the engine and the client."""

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "clients" / "contract"
GOLDEN = FOLDER / "golden"


def _read(name: str) -> Any:
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


_ERRORS = _read("errors.json")
MEDIA_TYPE: str = _ERRORS["media_type"]
MEMBERS: list[str] = _ERRORS["members"]
ERRORS: dict[str, dict[str, Any]] = _ERRORS["errors"]

_RETRIES = _read("retries.json")
RULES: dict[str, Any] = _RETRIES["rules"]
CONVERSATIONS: list[dict[str, Any]] = _RETRIES["conversations"]

LEAST_SQUARES: dict[str, Any] = _read("least_squares.json")

SCHEDULES: dict[str, dict[str, Any]] = _read("schedules.json")
FACTORS: list[tuple[dict[str, Any], dict[int, float]]] = [
    (example["schedule"], {int(s): factor for s, factor in example["factors"].items()})
    for kind in SCHEDULES.values()
    for example in kind["examples"]
]
"""Schedules, each with its factors at some of its own steps."""


def may_pass(status: int, code: str | None, headers: dict[str, str | None]) -> bool:
    """Return whether the rules of `retries.json` try again after such an answer."""
    said = headers.get("X-Should-Retry")
    if said is not None:
        return said == "true"
    statuses = RULES["statuses"]
    passing = status in statuses["again"] or status >= statuses["again_from"]
    return (passing and status not in statuses["final"]) or code in RULES["codes"]
