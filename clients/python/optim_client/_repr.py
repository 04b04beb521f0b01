"""The `repr` of a session: one line, and a small table for notebooks. Asks the service nothing."""

import math
from collections.abc import Mapping
from html import escape

import numpy as np

from optim_client.documents import Metrics, SessionInfo, TensorInfo

ITEM_BYTES = {"bfloat16": 2}
"""The size of an element of a dtype that NumPy does not know."""
UNITS = ("bytes", "kB", "MB", "GB", "TB")
LONGEST_CELL = 100


def facts(info: SessionInfo, metrics: Metrics | None, loss: float | None, address: str) -> Mapping[str, str]:
    """Return what is known of a session, by its name, in the order in which it is shown."""
    lr = info.hyperparameters.get("lr") if metrics is None else metrics.lr
    known = {
        "optimizer": info.optimizer,
        "step": str(info.step),
        "loss": "" if loss is None else f"{loss:.4g}",
        "lr": f"{lr:.4g}" if isinstance(lr, int | float) else "",
        "skipped": str(info.skipped_steps or ""),
        "tensors": _tensors(info),
        "labels": ", ".join(f"{name}={value}" for name, value in info.labels.items()),
        "address": address,
    }
    return {name: text for name, text in known.items() if text}


def line(kind: str, session_id: str, shown: Mapping[str, str]) -> str:
    """Return the facts in one line; labels, which may be long, are left out."""
    forms = {"loss": "loss {}", "lr": "lr {}", "skipped": "{} skipped", "tensors": "{}", "address": "{}"}
    rest = [form.format(shown[name]) for name, form in forms.items() if name in shown]
    begin = f"{session_id} {shown['optimizer']} at step {shown['step']}"
    return f"<{kind} {', '.join([begin, *rest])}>"


def table(kind: str, session_id: str, shown: Mapping[str, str]) -> str:
    """Return the facts as a table in HTML."""
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(_short(text))}</td></tr>" for name, text in shown.items())
    return f"<table><caption>{escape(kind)} {escape(session_id)}</caption>{rows}</table>"


def _tensors(info: SessionInfo) -> str:
    """Return the number of tensors, and the bytes of their parameters, or of the whole state from a list."""
    if not info.tensor_count:
        return ""
    count = f"{info.tensor_count} tensor{'s' * (info.tensor_count != 1)}"
    if info.tensors:
        return f"{count} of {_size(sum(map(_nbytes, info.tensors.values())))}"
    return count if info.state_bytes is None else f"{count}, state of {_size(info.state_bytes)}"


def _nbytes(tensor: TensorInfo) -> int:
    return math.prod(tensor.shape) * (ITEM_BYTES.get(tensor.dtype) or np.dtype(tensor.dtype).itemsize)


def _size(nbytes: float) -> str:
    """Return the bytes in the unit that leaves fewer than four digits before the point."""
    for unit in UNITS[:-1]:
        if nbytes < 1000:
            return f"{nbytes:.4g} {unit}"
        nbytes /= 1000
    return f"{nbytes:.4g} {UNITS[-1]}"


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_CELL else f"{text[: LONGEST_CELL - 1]}…"
