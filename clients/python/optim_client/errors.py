"""The error tree: everything that a call can fail with.

    OptimError
    ├── APIConnectionError            no answer
    │   ├── APITimeoutError
    │   └── ForeignAnswer             the answer to another request
    ├── InvalidAnswer                 a success that cannot be read
    ├── StepMismatch                  `sessions.get(id, step=…)` found the session at another step
    ├── StateLost                     the session went back: its store lost steps
    ├── StepUnderWay                  another thread or task is stepping the session
    └── APIStatusError                a refusal: a class for each status, and for codes that need one
        ├── BadRequest           ── MalformedQuery
        ├── Authentication  PreconditionFailed  BodyTooLarge  Misdirected  RateLimited
        ├── PermissionDenied     ── QuotaExceeded
        ├── NotFound             ── SessionNotFound
        ├── Conflict             ── StepConflict  ParamsConflict  UndoUnavailable  SessionBusy
        │                           RoundClosed  RoundOpen  NoQuorum  WorkerFenced  WorkersOnly  Stale
        ├── UnprocessableEntity  ── InvalidSession  TensorMismatch  NonFinite  IdempotencyMismatch  InvalidState
        │                           ContributionMismatch
        ├── ServiceUnavailable   ── Overloaded  StoreUnavailable
        └── InternalServerError  ── StateDamaged  ReplayDiffers

Arguments that the client itself refuses are not in it: they raise `TypeError` or `ValueError`, and nothing is sent.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar


class OptimError(Exception):
    """The root of the errors."""


class APIConnectionError(OptimError):
    """No answer came. Unless `sent` is false, the service may have made the change.

    After a `step` that ended so, call `step` again with the same arguments: it is applied once, whatever happened.
    `may_pass` is false where waiting is of no use: the certificate is not trusted.
    """

    def __init__(self, message: str, *, sent: bool = True, may_pass: bool = True) -> None:
        super().__init__(message)
        self.sent = sent
        self.may_pass = may_pass


class APITimeoutError(APIConnectionError):
    """No answer came in time."""


class ForeignAnswer(APIConnectionError):
    """The answer to another request came, and was dropped: two processes or a proxy mix up a connection."""


class InvalidAnswer(OptimError):
    """A successful answer cannot be read: does `base_url` lead to an Optim Service?"""


class APIStatusError(OptimError):
    """The service refused the request.

    `code` names the reason; it is `None` where something else answered, such as a proxy. `fields` has the further
    members of the problem document. `request_id` finds the request in the service's log.
    """

    hint: ClassVar[str] = ""
    """The next thing to do, in the words of this client."""

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
        super().__init__(f"{detail} ({said}{request}){self.hint if code else ''}")
        self.detail = detail
        self.status = status
        self.code = code
        self.request_id = request_id
        self.fields: Mapping[str, Any] = fields or {}

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        """Pickle the error."""
        fields = dict(self.fields)
        again = partial(
            type(self), self.detail, status=self.status, code=self.code, request_id=self.request_id, fields=fields
        )
        return again, ()


class BadRequest(APIStatusError):
    """The body or a header cannot be read."""


class MalformedQuery(BadRequest):
    """A query parameter is unknown or malformed."""


class Authentication(APIStatusError):
    """No API key, or one that is unknown or expired: pass `api_key` or set `OPTIM_API_KEY`."""

    hint = "; the key is api_key=… or the environment's OPTIM_API_KEY"


class PermissionDenied(APIStatusError):
    """The key is valid, but its role is not sufficient."""


class QuotaExceeded(PermissionDenied):
    """The tenant has reached its limit of sessions or of state: delete a session."""


class NotFound(APIStatusError):
    """The resource does not exist."""


class SessionNotFound(NotFound):
    """The session was deleted, has expired, never existed, or is another tenant's."""


class Conflict(APIStatusError):
    """The request conflicts with the session's state."""

    @property
    def current_step(self) -> int | None:
        """Return the session's step."""
        return self.fields.get("current_step")

    @property
    def round(self) -> int | None:
        """Return the number of the round."""
        return self.fields.get("round")


class StepConflict(Conflict):
    """The step is not the session's next one: another client stepped it, or this one is stale.

    `applied_as_step` is set where this call was applied earlier, and later steps have followed. `undone` says that the
    step was undone since.
    """

    hint = "; session.get() reads the session's step, then go on from the parameters that belong to it"

    @property
    def applied_as_step(self) -> int | None:
        """Return the number of the step that this call was applied as."""
        return self.fields.get("applied_as_step")

    @property
    def undone(self) -> bool:
        """Return whether that step was undone since."""
        return bool(self.fields.get("undone"))


class UndoUnavailable(Conflict):
    """The session keeps no state from before the step, so that cannot be undone.

    `undo`, given when a session is created, says how many steps can be; what was put or edited since, too, cannot.
    """

    hint = "; session.load_state(path) puts a saved state back"


class ParamsConflict(Conflict):
    """The parameters of a step are not those that were answered last, and the session rejects others.

    `tensor` is the first one that differs. The parameters are of another step, or were changed in between.
    """

    hint = "; session.update(on_other_params='accept') takes parameters from elsewhere"

    @property
    def tensor(self) -> str | None:
        """Return the name of the first tensor that differs."""
        return self.fields.get("tensor")


class RoundClosed(Conflict):
    """The round is a step by now, without this contribution. `reason` says why it was dropped, such as `late`."""

    @property
    def reason(self) -> str | None:
        """Return the reason for which the contribution was dropped."""
        return self.fields.get("reason")


class RoundOpen(Conflict):
    """Contributions wait in a round, and were checked against what the call would change: wait for it to close."""


class NoQuorum(Conflict):
    """The round has too few contributions to be closed."""

    @property
    def need(self) -> int | None:
        """Return how many more the quorum needs."""
        return self.fields.get("need")


class WorkerFenced(Conflict):
    """The worker has not joined, has left, or another process has joined as it: join again, which fences that one."""

    @property
    def worker(self) -> str | None:
        """Return the name of the worker."""
        return self.fields.get("worker")


class WorkersOnly(Conflict):
    """The session is for workers, or is not, and the call is for the other kind."""


class Stale(Conflict):
    """The gradients are of parameters from too many steps ago: get the parameters, and compute them anew."""


class PreconditionFailed(APIStatusError):
    """The session has changed since this client read it: a step, or other settings. Nothing was done."""

    hint = "; session.get() reads the session again, then decide whether the call is still right"


class SessionBusy(Conflict):
    """Other writers changed the session at each attempt; the same call may be made again."""


class BodyTooLarge(APIStatusError):
    """The body is longer than the service accepts (`OPTIM_MAX_BODY_BYTES`)."""


class UnprocessableEntity(APIStatusError):
    """The request can be read, and is not valid."""

    @property
    def tensor(self) -> str | None:
        """Return the name of the tensor."""
        return self.fields.get("tensor")

    @property
    def expected(self) -> Any:
        """Return what the session expected."""
        return self.fields.get("expected")

    @property
    def got(self) -> Any:
        """Return what the request had."""
        return self.fields.get("got")


class InvalidSession(UnprocessableEntity):
    """A setting is unknown, of the wrong type, or out of range."""


class TensorMismatch(UnprocessableEntity):
    """A tensor is missing, or differs in shape or dtype from what the session knows."""


class NonFinite(UnprocessableEntity):
    """A gradient has a NaN or an infinity, and the session rejects those. Nothing was changed."""

    @property
    def index(self) -> Any:
        """Return the place in the tensor."""
        return self.fields.get("index")


class IdempotencyMismatch(UnprocessableEntity):
    """An idempotency key was used for another request."""


class ContributionMismatch(UnprocessableEntity):
    """The worker has another contribution at this place, which stays."""


class InvalidState(UnprocessableEntity):
    """A state file does not fit this session, or is not what its digest says."""


class Misdirected(APIStatusError):
    """The service does not answer to the name in `base_url` (`OPTIM_ALLOWED_HOSTS`)."""


class RateLimited(APIStatusError):
    """The tenant sends too many requests."""


class ServiceUnavailable(APIStatusError):
    """The service cannot answer now."""


class Overloaded(ServiceUnavailable):
    """More requests are in progress than the service accepts."""


class StoreUnavailable(ServiceUnavailable):
    """The store does not answer."""


class InternalServerError(APIStatusError):
    """The service failed."""


class StateDamaged(InternalServerError):
    """The stored state is not what was written; the service refuses to go on with it."""


class ReplayDiffers(InternalServerError):
    """The step was applied, and its answer cannot be repeated; `session.get()` reads the session's step."""
