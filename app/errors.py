"""The tree of errors that a client can get: status, code, and what a client needs to go on.

An error knows its own answer, and no other module decides it again. Knows no HTTP library.
The message (`detail`) has the value and the way out, and never an array.
"""

from collections.abc import Mapping
from typing import ClassVar

import optim_engine.errors as engine
from optim_engine.errors import EngineError


class ServiceError(Exception):
    """The root of the tree. `fields` are the extra members of the problem document (RFC 9457, section 3.2)."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "The service failed"
    retry_after: int | None = None
    """Seconds for `Retry-After`, if a later retry is the way out."""
    should_retry: ClassVar[bool | None] = None
    """The value of `x-should-retry`, if the status alone would mislead a client."""

    def __init__(self, detail: str, **fields: object) -> None:
        super().__init__(detail)
        self.detail = detail
        self.fields = fields

    def problem(self) -> dict[str, object]:
        """Return the problem document."""
        return {
            "type": f"urn:optim:error:{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            **{name: value for name, value in self.fields.items() if value is not None},
        }

    def headers(self) -> dict[str, str]:
        """Return the headers of the answer."""
        headers: dict[str, str] = {}
        if self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after)
        if self.should_retry is not None:
            headers["X-Should-Retry"] = "true" if self.should_retry else "false"
        return headers


class MalformedBody(ServiceError):
    """A body whose bytes are not what its media type says."""

    status, code, title = 400, "malformed_body", "The body cannot be read"


class MalformedHeader(ServiceError):
    """A header that cannot be read."""

    status, code, title = 400, "malformed_header", "A header cannot be read"


class MalformedQuery(ServiceError):
    """A query parameter that the route does not know, that is sent twice, or that cannot be read."""

    status, code, title = 400, "malformed_query", "A query parameter is unknown or cannot be read"


class Unauthenticated(ServiceError):
    """A request without a key, or with one that is unknown or has expired."""

    status, code, title = 401, "unauthenticated", "A valid API key is needed"

    def headers(self) -> dict[str, str]:
        return {**super().headers(), "WWW-Authenticate": "Bearer"}


class Forbidden(ServiceError):
    """A request with a valid key whose role is not enough, or from a page of another site without a key."""

    status, code, title = 403, "forbidden", "The API key or the origin does not allow this"


class QuotaExceeded(ServiceError):
    """A tenant that has reached its quota. Not 429, because a retry cannot succeed."""

    status, code, title = 403, "quota_exceeded", "The tenant has reached its quota"


class SessionNotFound(ServiceError):
    """A session that does not exist, or belongs to another tenant."""

    status, code, title = 404, "session_not_found", "Unknown session"


class RouteNotFound(ServiceError):
    """A path that does not exist."""

    status, code, title = 404, "route_not_found", "Unknown path"


class MethodNotAllowed(ServiceError):
    """A method that the path does not take."""

    status, code, title = 405, "method_not_allowed", "This path does not take that method"


class NotAcceptable(ServiceError):
    """An `Accept` that names no form the service writes, or one in which the answer would be too long."""

    status, code, title = 406, "not_acceptable", "No acceptable form of answer"


class StepConflict(ServiceError):
    """A step that is not the session's next one; the same request can never succeed."""

    status, code, title, should_retry = 409, "step_conflict", "Not the session's next step", False


class ParamsConflict(ServiceError):
    """A parameter that differs from the last answer for its tensor, in a session that rejects this."""

    status, code, title, should_retry = 409, "params_conflict", "Not the parameters that were answered", False


class UndoUnavailable(ServiceError):
    """A step that cannot be undone, because the session keeps no state from before it."""

    status, code, title, should_retry = 409, "undo_unavailable", "The step cannot be undone", False


class SessionBusy(ServiceError):
    """A session that other writers changed at every try; the same request can be sent again."""

    status, code, title, retry_after, should_retry = 409, "session_busy", "The session is busy", 1, True


class RoundClosed(ServiceError):
    """A contribution to a round that is a step by now; `fate` and `reason` say what became of the contribution."""

    status, code, title, should_retry = 409, "round_closed", "The round is closed", False


class RoundOpen(ServiceError):
    """A change of what the contributions that wait in the open round were checked against."""

    status, code, title = 409, "round_open", "Contributions wait in the open round"


class NoQuorum(ServiceError):
    """A round that is to be closed with fewer contributions than its quorum."""

    status, code, title = 409, "no_quorum", "The round has no quorum"


class WorkerFenced(ServiceError):
    """A worker with an epoch that is not its present one: it left, never joined, or another process has joined."""

    status, code, title, should_retry = 409, "worker_fenced", "Not the worker's present epoch", False


class WorkersOnly(ServiceError):
    """A call that is not for a session with these `workers`, such as a plain step."""

    status, code, title, should_retry = 409, "workers_only", "The session is for workers", False


class Stale(ServiceError):
    """A contribution that was computed from parameters of too many steps ago."""

    status, code, title, should_retry = 409, "stale", "The contribution is too stale", False


class PreconditionFailed(ServiceError):
    """An `If-Match` that does not name the session's present state; nothing was changed."""

    status, code, title = 412, "precondition_failed", "The session has changed"


class BodyTooLarge(ServiceError):
    """A body longer than `OPTIM_MAX_BODY_BYTES`, or JSON longer than `OPTIM_MAX_JSON_BYTES`."""

    status, code, title = 413, "body_too_large", "The body is too large"


class Misdirected(ServiceError):
    """A `Host` that the service does not answer for."""

    status, code, title = 421, "misdirected", "The request is for another host"


class UnsupportedMediaType(ServiceError):
    """A `Content-Type` or `Content-Encoding` that the service does not read."""

    status, code, title = 415, "unsupported_media_type", "The body's media type is not supported"


class InvalidSession(ServiceError):
    """A setting that is unknown, of the wrong type, or out of range."""

    status, code, title = 422, "invalid_session", "The session's settings are not valid"


class TensorMismatch(ServiceError):
    """A tensor that is missing, or whose shape or dtype differs from the session's."""

    status, code, title = 422, "tensor_mismatch", "A tensor does not fit the session"


class NonFinite(ServiceError):
    """A gradient with NaN or an infinity, in a session that rejects them."""

    status, code, title = 422, "non_finite", "A tensor holds a value that is not finite"


class IdempotencyMismatch(ServiceError):
    """An idempotency key that came again with another request."""

    status, code, title = 422, "idempotency_mismatch", "This idempotency key belongs to another request"


class ContributionMismatch(ServiceError):
    """A contribution at a place that has another one."""

    status, code, title = 422, "contribution_mismatch", "This place has another contribution"


class InvalidState(ServiceError):
    """An uploaded state that does not fit the session, or its own digest."""

    status, code, title = 422, "invalid_state", "The state cannot be taken"


class RateLimited(ServiceError):
    """A tenant that sends more requests than its limit; `limit` has the header fields that tell it."""

    status, code, title = 429, "rate_limited", "Too many requests"

    def __init__(
        self, detail: str, *, retry_after: int = 1, limit: Mapping[str, str] | None = None, **fields: object
    ) -> None:
        super().__init__(detail, **fields)
        self.retry_after = retry_after
        self._limit = limit or {}

    def headers(self) -> dict[str, str]:
        return {**super().headers(), **self._limit}


class StateDamaged(ServiceError):
    """A stored state that is not what was written: refused, never begun anew."""

    status, code, title, should_retry = 500, "state_damaged", "The stored state is damaged", False


class ReplayDiffers(ServiceError):
    """A replay that would answer with other parameters than before: refused, never silent."""

    status, code, title, should_retry = 500, "replay_differs", "The replay differs from the first answer", False


class Overloaded(ServiceError):
    """A server with more steps under way than it takes."""

    status, code, title, retry_after = 503, "overloaded", "The server is overloaded", 1


class StoreUnavailable(ServiceError):
    """A store that does not answer; nothing of the request was acknowledged."""

    status, code, title, retry_after = 503, "store_unavailable", "The store cannot be reached", 1


def _tree(root: type[ServiceError]) -> list[type[ServiceError]]:
    return [root, *(leaf for child in root.__subclasses__() for leaf in _tree(child))]


ERRORS: Mapping[str, type[ServiceError]] = {error.code: error for error in _tree(ServiceError)}
"""All errors by code; the OpenAPI schema and the docs' test read this table."""


def of_engine(error: EngineError) -> ServiceError:
    """Return the service's error for one of the engine's."""
    match error:
        case engine.TensorMismatch():
            return TensorMismatch(str(error), tensor=error.tensor or None, expected=error.expected, got=error.got)
        case engine.NonFinite():
            return NonFinite(str(error), tensor=error.tensor, index=error.index)
        case engine.InvalidConfig():
            return InvalidSession(str(error), where=error.where or None)
    return ServiceError(str(error))
