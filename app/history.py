"""The rows of a session's history: one for each step, as JSON."""

import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import orjson

from app import plain
from app.session import Session
from app.step import StepAnswer, StepRequest
from app.store.history import HistoryRow


def row_of(session: Session, answer: StepAnswer, request: StepRequest, started: float, version: int) -> HistoryRow:
    """Return the row of a step that began at `started`; `session` is the one after it, and of that version.

    The row of a step that is made of contributions has their entries too, and the digest.
    """
    ms = round(1000 * (time.perf_counter() - started), 3)
    kept = answer.kept
    beside: dict[str, Any] = {}
    if request.collected is not None:
        beside = {"contributions": request.collected.entries, "digest": kept.digest, "version": version}
    written = partial(_write, kept.step, request.loss, kept.metrics, answer.skipped, ms, session.updated_at, beside)
    curves = request.loss, kept.metrics["grad_norm"]
    return HistoryRow(session.step, written, answer.skipped, curves)


def marked(row: bytes) -> bytes:
    """Return the row of a step that was undone."""
    return row.removesuffix(b"}") + b',"undone":true}'


def _write(
    step: int,
    loss: float | None,
    metrics: Mapping[str, Any],
    skipped: bool,
    ms: float,
    at: float,
    beside: Mapping[str, Any],
) -> bytes:
    row = {
        "step": step,
        "loss": plain.number(loss),
        **metrics,
        "skipped": skipped,
        "duration_ms": ms,
        "time": plain.instant(at),
        **beside,
    }
    return orjson.dumps(row)
