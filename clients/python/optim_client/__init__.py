"""Train through Optim Service: an optimizer that is called over HTTP, every step durable and applied exactly once.

with Client() as client:
    session = client.sessions.create("adamw", lr=1e-3)
    for batch in batches:
        loss, grads = loss_and_grads(params, batch)
        params = session.step(params, grads, loss=loss)
"""

from optim_client._async_client import AsyncClient, AsyncSession, AsyncSessions
from optim_client._client import Client, Session, Sessions
from optim_client.documents import HistoryRow, Metrics, Page, SessionInfo, TensorInfo
from optim_client.errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    Authentication,
    BadRequest,
    BodyTooLarge,
    Conflict,
    IdempotencyMismatch,
    InternalServerError,
    InvalidAnswer,
    InvalidSession,
    InvalidState,
    NonFinite,
    NotFound,
    OptimError,
    Overloaded,
    PermissionDenied,
    QuotaExceeded,
    RateLimited,
    ServiceUnavailable,
    SessionBusy,
    SessionNotFound,
    StateDamaged,
    StepConflict,
    StoreUnavailable,
    TensorMismatch,
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
    "HistoryRow",
    "IdempotencyMismatch",
    "InternalServerError",
    "InvalidAnswer",
    "InvalidSession",
    "InvalidState",
    "Metrics",
    "NonFinite",
    "NotFound",
    "OptimError",
    "Overloaded",
    "Page",
    "PermissionDenied",
    "QuotaExceeded",
    "RateLimited",
    "ServiceUnavailable",
    "Session",
    "SessionBusy",
    "SessionInfo",
    "SessionNotFound",
    "Sessions",
    "StateDamaged",
    "StepConflict",
    "StoreUnavailable",
    "TensorInfo",
    "TensorMismatch",
    "UnprocessableEntity",
]
