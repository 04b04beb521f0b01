"""Everything that a call can fail with: one tree, drawn before the rest.

    OptimError
    ├── APIConnectionError            no answer
    │   └── APITimeoutError
    ├── InvalidAnswer                 a success whose body is not the service's
    └── APIStatusError                an answer that says no; a class a family, told apart by `code`
        ├── BadRequest  Authentication  BodyTooLarge  RateLimited
        ├── PermissionDenied     ── QuotaExceeded
        ├── NotFound             ── SessionNotFound
        ├── Conflict             ── StepConflict  SessionBusy
        ├── UnprocessableEntity  ── InvalidSession  TensorMismatch  NonFinite  IdempotencyMismatch  InvalidState
        ├── ServiceUnavailable   ── Overloaded  StoreUnavailable
        └── InternalServerError  ── StateDamaged

Wrong arguments are not in it: they raise `TypeError` or `ValueError` before anything is sent.
"""

import json
from collections.abc import Mapping
from typing import Any, ClassVar

STANDARD_MEMBERS = frozenset({"type", "title", "status", "detail", "code"})
EXCERPT_LENGTH = 200


class OptimError(Exception):
    """The root."""


class APIConnectionError(OptimError):
    """No answer came. Unless `sent` is false the service may have done what was asked.

    After a `step` that ended so, call `step` again with the same arguments: it is applied once, whatever happened.
    """

    def __init__(self, message: str, *, sent: bool = True) -> None:
        super().__init__(message)
        self.sent = sent


class APITimeoutError(APIConnectionError):
    """No answer came in time."""


class InvalidAnswer(OptimError):
    """The answer was a success and cannot be read: is `base_url` really an Optim Service?"""


class APIStatusError(OptimError):
    """The answer says no.

    `code` is the service's name for the reason, `None` where something else answered (a proxy). `fields` are the
    further members of the problem document, `request_id` is what to look for in the service's log.
    """

    hint: ClassVar[str] = ""
    """What to do next, where the service cannot know how this client calls it."""

    def __init__(
        self,
        detail: str,
        *,
        status: int,
        code: str | None = None,
        request_id: str | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> None:
        said = f"{status} {code}" if code else f"{status}"
        request = f", request {request_id}" if request_id else ""
        super().__init__(f"{detail} ({said}{request}){self.hint}")
        self.detail = detail
        self.status = status
        self.code = code
        self.request_id = request_id
        self.fields: Mapping[str, Any] = fields or {}


class BadRequest(APIStatusError):
    """The bytes or a header could not be read."""


class Authentication(APIStatusError):
    """No API key, or one that is unknown or expired: pass `api_key` or set `OPTIM_API_KEY`."""


class PermissionDenied(APIStatusError):
    """The key is valid, its role is not enough."""


class QuotaExceeded(PermissionDenied):
    """The tenant keeps as many sessions, or as many bytes of state, as it may: delete one."""


class NotFound(APIStatusError):
    """Nothing is there."""


class SessionNotFound(NotFound):
    """Deleted, expired, never there, or another tenant's."""


class Conflict(APIStatusError):
    """Somebody else was quicker."""


class StepConflict(Conflict):
    """The step is not the session's next one: another client stepped it, or this one is stale.

    `applied_as_step` is given where this very call was applied earlier and later steps have followed.
    """

    hint = "; session.get() learns the session's step, then go on from the parameters that belong to it"

    @property
    def current_step(self) -> int | None:
        return self.fields.get("current_step")

    @property
    def applied_as_step(self) -> int | None:
        return self.fields.get("applied_as_step")


class SessionBusy(Conflict):
    """Other writers won every time; the same call may be made again."""


class BodyTooLarge(APIStatusError):
    """Longer than the service takes (`OPTIM_MAX_BODY_BYTES`)."""


class UnprocessableEntity(APIStatusError):
    """Well said, and not acceptable."""

    @property
    def tensor(self) -> str | None:
        """The tensor that it is about."""
        return self.fields.get("tensor")

    @property
    def expected(self) -> Any:
        """What the session knows."""
        return self.fields.get("expected")

    @property
    def got(self) -> Any:
        """What came instead."""
        return self.fields.get("got")


class InvalidSession(UnprocessableEntity):
    """A setting is unknown, of the wrong type, or out of range."""


class TensorMismatch(UnprocessableEntity):
    """A tensor is missing, or differs in shape or dtype from what the session knows."""


class NonFinite(UnprocessableEntity):
    """A gradient holds NaN or an infinity, and the session rejects those. Nothing was changed."""

    @property
    def index(self) -> Any:
        """Where in the tensor."""
        return self.fields.get("index")


class IdempotencyMismatch(UnprocessableEntity):
    """A key came again with another body."""


class InvalidState(UnprocessableEntity):
    """A state file does not fit this session, or is not what its digest says."""


class RateLimited(APIStatusError):
    """Too many requests."""


class ServiceUnavailable(APIStatusError):
    """Not now."""


class Overloaded(ServiceUnavailable):
    """More steps are under way than the server takes."""


class StoreUnavailable(ServiceUnavailable):
    """The store does not answer."""


class InternalServerError(APIStatusError):
    """The service failed."""


class StateDamaged(InternalServerError):
    """What the store holds is not what was written; the service refuses to go on with it."""


BY_CODE: Mapping[str, type[APIStatusError]] = {
    "quota_exceeded": QuotaExceeded,
    "session_not_found": SessionNotFound,
    "step_conflict": StepConflict,
    "session_busy": SessionBusy,
    "invalid_session": InvalidSession,
    "tensor_mismatch": TensorMismatch,
    "non_finite": NonFinite,
    "idempotency_mismatch": IdempotencyMismatch,
    "invalid_state": InvalidState,
    "overloaded": Overloaded,
    "store_unavailable": StoreUnavailable,
    "state_damaged": StateDamaged,
}
"""The codes that have a class of their own; the others, and the unknown ones, are told by their status."""

BY_STATUS: Mapping[int, type[APIStatusError]] = {
    400: BadRequest,
    401: Authentication,
    403: PermissionDenied,
    404: NotFound,
    409: Conflict,
    413: BodyTooLarge,
    422: UnprocessableEntity,
    429: RateLimited,
    503: ServiceUnavailable,
}


def status_error(status: int, headers: Mapping[str, str], body: bytes) -> APIStatusError:
    """The error that an answer means. `headers` have lower-case names; any body will do."""
    problem = _problem(body)
    code = problem.get("code")
    kind = BY_CODE.get(str(code)) or BY_STATUS.get(status)
    return (kind or (InternalServerError if status >= 500 else APIStatusError))(
        str(problem.get("detail") or problem.get("title") or _excerpt(body)),
        status=status,
        code=code if isinstance(code, str) else None,
        request_id=headers.get("x-request-id"),
        fields={name: value for name, value in problem.items() if name not in STANDARD_MEMBERS},
    )


def _problem(body: bytes) -> dict[str, Any]:
    try:
        problem = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return problem if isinstance(problem, dict) else {}


def _excerpt(body: bytes) -> str:
    text = " ".join(body[: 4 * EXCERPT_LENGTH].decode(errors="replace").split())
    return f"not an answer of the service: {text[:EXCERPT_LENGTH]!r}" if text else "an answer without a body"
