"""Documents as the contract shows them, and refusals as the client reads them."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from optim_client._protocol import Response
from optim_client._refusals import status_error
from optim_client._tensors import ArraysLike
from optim_client.errors import APIStatusError

from tests.bodies import encode
from tests.contract import ERRORS, MEMBERS

SESSION: dict[str, Any] = {
    "id": "s-1",
    "optimizer": "adamw",
    "hyperparameters": {"lr": 0.001, "betas": [0.9, 0.999]},
    "groups": [{"match": ["*bias"], "weight_decay": 0.0}],
    "schedule": None,
    "clip": None,
    "on_non_finite": "reject",
    "hold_params": False,
    "wire_dtype": None,
    "on_other_params": "warn",
    "step": 41,
    "skipped_steps": 0,
    "digest": "d41",
    "tensors": {"w": {"shape": [1, 2], "dtype": "float32", "step": 41, "group": None, "optimizer": "adamw"}},
    "warnings": [],
    "ttl_seconds": 604800,
    "labels": {},
    "created_at": "2026-11-20T12:00:00Z",
    "updated_at": "2026-11-20T12:00:00Z",
    "expires_at": "2026-11-27T12:00:00Z",
}
METRICS = {"lr": 0.001, "grad_norm": 0.361, "update_norm": 0.0017, "param_norm": 0.22, "clip_scale": 1.0}
ROW = {
    "step": 1,
    "loss": None,
    **METRICS,
    "skipped": False,
    "duration_ms": 0.7,
    "time": "2026-11-20T12:00:01.500000Z",
}
W = {"w": np.float32([1, 2])}
REQUEST_ID = {"x-request-id": "req-1"}


def stepped(
    params: ArraysLike,
    step: int,
    *,
    skipped: bool = False,
    digest: str = "d",
    params_digest: str | None = None,
    warnings: Sequence[str] = (),
) -> Response:
    """Return the answer to a step. Earlier services send neither `params_digest` nor `warnings`."""
    metadata = {"step": str(step), "skipped": json.dumps(skipped), "digest": digest, "metrics": json.dumps(METRICS)}
    metadata |= {} if params_digest is None else {"params_digest": params_digest}
    metadata |= {"warnings": json.dumps(warnings)} if warnings else {}
    return Response(200, {}, encode({"params": params}, metadata))


def error_of(code: str, detail: str = "what happened", **members: Any) -> APIStatusError:
    """Return the client's error of the service's answer with that code."""
    problem = {"type": f"urn:optim:error:{code}", "title": "…", "status": ERRORS[code]["status"], "detail": detail}
    assert problem.keys() | {"code"} == set(MEMBERS)
    return status_error(ERRORS[code]["status"], REQUEST_ID, json.dumps(problem | {"code": code} | members).encode())
