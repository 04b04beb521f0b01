"""Every error that a client can be answered with: its status, its code, and what a client needs to go on.

One tree. An error knows how it is answered; nobody downstream decides that again. This file knows no HTTP library.
The message (`detail`) holds the value and the way out, and never an array.
"""

from collections.abc import Mapping
from typing import ClassVar

import optim_engine.errors as engine
from optim_engine.errors import EngineError


class ServiceError(Exception):
    """The root. `fields` are the extra members of the problem document (RFC 9457, section 3.2)."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "The service failed"
    retry_after: int | None = None
    """Seconds for `Retry-After`, where trying again later is the way out."""
    should_retry: ClassVar[bool | None] = None
    """What `x-should-retry` says, where the status alone would mislead a client."""

    def __init__(self, detail: str, **fields: object) -> None:
        super().__init__(detail)
        self.detail = detail
        self.fields = fields

    def problem(self) -> dict[str, object]:
        """The problem document."""
        return {
            "type": f"urn:optim:error:{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            **{name: value for name, value in self.fields.items() if value is not None},
        }

    def headers(self) -> dict[str, str]:
        """The headers that belong to the answer."""
        headers: dict[str, str] = {}
        if self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after)
        if self.should_retry is not None:
            headers["X-Should-Retry"] = "true" if self.should_retry else "false"
        return headers


class MalformedBody(ServiceError):
    """The bytes are not what the media type says."""

    status, code, title = 400, "malformed_body", "The body cannot be read"


class MalformedHeader(ServiceError):
    """A header is not what it must be."""

    status, code, title = 400, "malformed_header", "A header cannot be read"


class MalformedQuery(ServiceError):
    """A query parameter is unknown to the route, stands twice, or is not what it must be."""

    status, code, title = 400, "malformed_query", "A query parameter is unknown or cannot be read"


class Unauthenticated(ServiceError):
    """No key, or one that is unknown or has expired."""

    status, code, title = 401, "unauthenticated", "A valid API key is needed"

    def headers(self) -> dict[str, str]:
        return {**super().headers(), "WWW-Authenticate": "Bearer"}


class Forbidden(ServiceError):
    """The key is valid and its role is not enough, or the page of another site asks without one."""

    status, code, title = 403, "forbidden", "Who asks may not do that"


class QuotaExceeded(ServiceError):
    """The tenant keeps as much as it may. Not 429, which asks to be sent again: waiting mends nothing here."""

    status, code, title = 403, "quota_exceeded", "This tenant keeps as much as it may"


class SessionNotFound(ServiceError):
    """No such session, or one of another tenant."""

    status, code, title = 404, "session_not_found", "There is no such session"


class RouteNotFound(ServiceError):
    """No such path."""

    status, code, title = 404, "route_not_found", "There is no such path"


class MethodNotAllowed(ServiceError):
    """The path exists, the method does not."""

    status, code, title = 405, "method_not_allowed", "This path does not take that method"


class NotAcceptable(ServiceError):
    """`Accept` names no form that the service writes, or one in which the answer would be too long."""

    status, code, title = 406, "not_acceptable", "No acceptable form of answer"


class StepConflict(ServiceError):
    """The step that was asked for is not the session's next one, and asking again cannot mend it."""

    status, code, title, should_retry = 409, "step_conflict", "Not the session's next step", False


class ParamsConflict(ServiceError):
    """A parameter is not the one that was answered for its tensor last, and the session rejects such."""

    status, code, title, should_retry = 409, "params_conflict", "Not the parameters that were answered", False


class SessionBusy(ServiceError):
    """Other writers won every time; the same request may simply be sent again."""

    status, code, title, retry_after, should_retry = 409, "session_busy", "The session is busy", 1, True


class PreconditionFailed(ServiceError):
    """`If-Match` names another state of the session than it has by now; nothing was changed."""

    status, code, title = 412, "precondition_failed", "The session is another one by now"


class BodyTooLarge(ServiceError):
    """The body is longer than `OPTIM_MAX_BODY_BYTES`, or is JSON and longer than `OPTIM_MAX_JSON_BYTES`."""

    status, code, title = 413, "body_too_large", "The body is too large"


class Misdirected(ServiceError):
    """`Host` names another host than those that the service answers for."""

    status, code, title = 421, "misdirected", "The request is for another host"


class UnsupportedMediaType(ServiceError):
    """`Content-Type` or `Content-Encoding` is not one that the service reads."""

    status, code, title = 415, "unsupported_media_type", "The body's media type is not supported"


class InvalidSession(ServiceError):
    """A setting is unknown, of the wrong type, or out of range."""

    status, code, title = 422, "invalid_session", "The session's settings are not valid"


class TensorMismatch(ServiceError):
    """A tensor is missing, or differs in shape or dtype from what the session knows."""

    status, code, title = 422, "tensor_mismatch", "A tensor does not fit the session"


class NonFinite(ServiceError):
    """A gradient holds NaN or an infinity, and the session rejects those."""

    status, code, title = 422, "non_finite", "A tensor holds a value that is not finite"


class IdempotencyMismatch(ServiceError):
    """A key came again with another body."""

    status, code, title = 422, "idempotency_mismatch", "This idempotency key belongs to another request"


class InvalidState(ServiceError):
    """An uploaded state does not fit this session, or is not what its digest says."""

    status, code, title = 422, "invalid_state", "The state cannot be taken"


class RateLimited(ServiceError):
    """The tenant sends more requests than its limit; `limit` has the header fields that say so."""

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
    """What the store holds is not what was written: refused, never started afresh."""

    status, code, title, should_retry = 500, "state_damaged", "The stored state is damaged", False


class ReplayDiffers(ServiceError):
    """A step that was answered before would be answered with other parameters now: refused, never silent."""

    status, code, title, should_retry = 500, "replay_differs", "The answer cannot be made again as it was", False


class Overloaded(ServiceError):
    """More steps are under way than the server takes."""

    status, code, title, retry_after = 503, "overloaded", "The server is overloaded", 1


class StoreUnavailable(ServiceError):
    """The store does not answer; nothing of the request was acknowledged."""

    status, code, title, retry_after = 503, "store_unavailable", "The store cannot be reached", 1


def _tree(root: type[ServiceError]) -> list[type[ServiceError]]:
    return [root, *(leaf for child in root.__subclasses__() for leaf in _tree(child))]


ERRORS: Mapping[str, type[ServiceError]] = {error.code: error for error in _tree(ServiceError)}
"""Every error by its code; the OpenAPI schema and the docs' test read this table."""


def of_engine(error: EngineError) -> ServiceError:
    """What the engine refused, as it is answered."""
    match error:
        case engine.TensorMismatch():
            return TensorMismatch(str(error), tensor=error.tensor, expected=error.expected, got=error.got)
        case engine.NonFinite():
            return NonFinite(str(error), tensor=error.tensor, index=error.index)
        case engine.InvalidConfig():
            return InvalidSession(str(error), where=error.where)
    return ServiceError(str(error))
