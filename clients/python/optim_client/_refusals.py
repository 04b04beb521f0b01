"""A refusal as an error: from the answer's status and its problem document to one class of the tree in `errors.py`."""

import json
from collections.abc import Mapping
from typing import Any

from optim_client import errors
from optim_client.errors import APIStatusError

STANDARD_MEMBERS = frozenset({"type", "title", "status", "detail", "code"})
EXCERPT_LENGTH = 200

BY_CODE: Mapping[str, type[APIStatusError]] = {
    "malformed_query": errors.MalformedQuery,
    "quota_exceeded": errors.QuotaExceeded,
    "session_not_found": errors.SessionNotFound,
    "step_conflict": errors.StepConflict,
    "params_conflict": errors.ParamsConflict,
    "undo_unavailable": errors.UndoUnavailable,
    "session_busy": errors.SessionBusy,
    "round_closed": errors.RoundClosed,
    "round_open": errors.RoundOpen,
    "no_quorum": errors.NoQuorum,
    "worker_fenced": errors.WorkerFenced,
    "workers_only": errors.WorkersOnly,
    "stale": errors.Stale,
    "invalid_session": errors.InvalidSession,
    "tensor_mismatch": errors.TensorMismatch,
    "non_finite": errors.NonFinite,
    "idempotency_mismatch": errors.IdempotencyMismatch,
    "contribution_mismatch": errors.ContributionMismatch,
    "invalid_state": errors.InvalidState,
    "overloaded": errors.Overloaded,
    "store_unavailable": errors.StoreUnavailable,
    "state_damaged": errors.StateDamaged,
    "replay_differs": errors.ReplayDiffers,
}
"""Codes with a class of their own; the others, and unknown ones, get the class of their status."""

BY_STATUS: Mapping[int, type[APIStatusError]] = {
    400: errors.BadRequest,
    401: errors.Authentication,
    403: errors.PermissionDenied,
    404: errors.NotFound,
    409: errors.Conflict,
    412: errors.PreconditionFailed,
    413: errors.BodyTooLarge,
    421: errors.Misdirected,
    422: errors.UnprocessableEntity,
    429: errors.RateLimited,
    503: errors.ServiceUnavailable,
}


PROXY_HINTS: Mapping[int, str] = {
    401: "; it requires a password, which base_url can hold: https://user:password@…",
    407: "; it requires a password, which HTTPS_PROXY can hold: http://user:password@…",
    413: "; the proxy accepts no body of that size: raise its limit (client_max_body_size of nginx)",
    504: "; the service took longer than the proxy waits: raise its limit (proxy_read_timeout of nginx)",
}


def status_error(status: int, headers: Mapping[str, str], body: bytes) -> APIStatusError:
    """Return the error of an answer. `headers` have lower-case names; the body may be anything."""
    problem = _problem(body)
    code = problem.get("code")
    kind = BY_CODE.get(str(code)) or BY_STATUS.get(status)
    return (kind or (errors.InternalServerError if status >= 500 else APIStatusError))(
        str(problem.get("detail") or problem.get("title") or _not_the_service(status, headers, body)),
        status=status,
        code=code if isinstance(code, str) else None,
        request_id=headers.get("x-request-id"),
        fields={name: value for name, value in problem.items() if name not in STANDARD_MEMBERS},
    )


def excerpt(body: bytes) -> str:
    """Return the beginning of a text, in one line."""
    text = " ".join(body[: 4 * EXCERPT_LENGTH].decode(errors="replace").split())
    return text[:EXCERPT_LENGTH]


def _problem(body: bytes) -> dict[str, Any]:
    try:
        problem = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return problem if isinstance(problem, dict) else {}


def _not_the_service(status: int, headers: Mapping[str, str], body: bytes) -> str:
    """Return the words for an answer that is not the service's, such as a proxy's."""
    location = headers.get("location", "").partition("?")[0]
    if 300 <= status < 400 and location:
        return (
            f"a redirect to {location!r}, which a client does not follow: "
            "set base_url to the address that leads to the service itself"
        )
    text = excerpt(body)
    page = f"with the page {text!r}" if text else "with an empty body"
    return f"a proxy answered, not the service, {page}{PROXY_HINTS.get(status, '')}"
