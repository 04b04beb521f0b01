"""The Python client of Optim Service: an optimizer over HTTP, every step durable and applied exactly once.

with Client() as client:
    session = client.sessions.create("adamw", lr=1e-3)
    for batch in batches:
        loss, grads = loss_and_grads(params, batch)
        params = session.step(params, grads, loss=loss)
"""

from optim_client._async_client import AsyncClient
from optim_client._async_sessions import AsyncSession, AsyncSessions
from optim_client._client import Client
from optim_client._gradients import Int8, Rows, TopK
from optim_client._progress import progress
from optim_client._sessions import Session, Sessions
from optim_client._state_file import StateFile
from optim_client.documents import HistoryRow, Metrics, OptimizerInfo, Page, Preview, SessionInfo, TensorInfo
from optim_client.errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    Authentication,
    BadRequest,
    BodyTooLarge,
    Conflict,
    ForeignAnswer,
    IdempotencyMismatch,
    InternalServerError,
    InvalidAnswer,
    InvalidSession,
    InvalidState,
    MalformedQuery,
    Misdirected,
    NonFinite,
    NotFound,
    OptimError,
    Overloaded,
    ParamsConflict,
    PermissionDenied,
    PreconditionFailed,
    QuotaExceeded,
    RateLimited,
    ReplayDiffers,
    ServiceUnavailable,
    SessionBusy,
    SessionNotFound,
    StateDamaged,
    StepConflict,
    StepMismatch,
    StepUnderWay,
    StoreUnavailable,
    TensorMismatch,
    UndoUnavailable,
    UnprocessableEntity,
)

__all__ = [
    "APIConnectionError",
    "APIStatusError",
    "APITimeoutError",
    "AsyncClient",
    "AsyncSession",
    "AsyncSessions",
    "Authentication",
    "BadRequest",
    "BodyTooLarge",
    "Client",
    "Conflict",
    "ForeignAnswer",
    "HistoryRow",
    "IdempotencyMismatch",
    "Int8",
    "InternalServerError",
    "InvalidAnswer",
    "InvalidSession",
    "InvalidState",
    "MalformedQuery",
    "Metrics",
    "Misdirected",
    "NonFinite",
    "NotFound",
    "OptimError",
    "OptimizerInfo",
    "Overloaded",
    "Page",
    "ParamsConflict",
    "PermissionDenied",
    "PreconditionFailed",
    "Preview",
    "QuotaExceeded",
    "RateLimited",
    "ReplayDiffers",
    "Rows",
    "ServiceUnavailable",
    "Session",
    "SessionBusy",
    "SessionInfo",
    "SessionNotFound",
    "Sessions",
    "StateDamaged",
    "StateFile",
    "StepConflict",
    "StepMismatch",
    "StepUnderWay",
    "StoreUnavailable",
    "TensorInfo",
    "TensorMismatch",
    "TopK",
    "UndoUnavailable",
    "UnprocessableEntity",
    "progress",
]
