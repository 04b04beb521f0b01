"""The routes of sessions: create, list, read, change, delete, fork, and their history."""

from typing import Annotated, Any, TypeVar

import orjson
from fastapi import APIRouter, Query, Request, Response

from app.errors import MalformedQuery
from app.listing import Filter
from app.plotted import plotted
from app.routes import openapi as schema
from app.routes.documents import read_document, session_answer
from app.routes.once import headers_of, is_known, read_once
from app.routes.query import StrictRoute
from app.routes.state_files import state_file
from app.service import Has, Reader, Writer
from app.web.telemetry import SESSION
from app.wire.codecs import SAFETENSORS, codec_of
from app.wire.session_json import read_changes, read_creation, read_fork, read_undo, summary
from optim_engine import OPTIMIZERS

router = APIRouter(tags=["sessions"], route_class=StrictRoute)

T = TypeVar("T")

ID = "^[0-9a-f]{32}$"
ROWS, MOST_ROWS = 1000, 10_000
"""Rows of the history in one answer: by default, and at most."""
ROW_BYTES = 256
"""The approximate length of a row."""


@router.post(
    "/v1/sessions",
    status_code=201,
    operation_id="createSession",
    summary="Create a session",
    openapi_extra=schema.json_or_file_body("CreateSession") | schema.ONCE,
    responses=schema.written(
        201, "Session", "malformed_body", "quota_exceeded", "session_not_found", "session_busy", "body_too_large",
        "unsupported_media_type", "invalid_session", "invalid_state", "tensor_mismatch", "state_damaged", "overloaded",
        headers={"Location": "The session, relative to this path."},
    ),
)  # fmt: skip
async def create_session(request: Request, service: Has, caller: Writer) -> Response:
    """Create a session at step 0. Only `optimizer` is required. Defaults are those of its reference, except that
    without `groups` tensors named `*bias` get no weight decay. A state file as the body gives the session its settings,
    counts, and labels.
    """
    if codec_of(request.headers.get("content-type"), request.headers.get("content-encoding")) is SAFETENSORS:
        async with state_file(request, service, caller.tenant) as (file, once):
            written = await service.sessions.create(caller.tenant, once=once, state=file.state, **file.creation())
    else:
        wanted, once = await read_document(request, service, caller.tenant, read_creation)
        written = await service.sessions.create(caller.tenant, once=once, **wanted)
    request.scope[SESSION] = written.session.id
    location = {"Location": f"sessions/{written.session.id}"}
    return await session_answer(service, written.session, 201, location | headers_of(written))


@router.get(
    "/v1/sessions",
    operation_id="listSessions",
    summary="List sessions, newest first",
    responses=schema.answers(200, "SessionList", "state_damaged"),
)
async def list_sessions(
    service: Has,
    caller: Reader,
    label: Annotated[
        list[str], Query(default_factory=list, description="`name:value`. A session must have all of them.")
    ],
    limit: Annotated[int, Query(ge=1, le=100, description="Sessions in one answer.")] = 20,
    cursor: Annotated[str | None, Query(pattern=ID, description="The `next_cursor` of the answer before.")] = None,
    optimizer: Annotated[str | None, Query(description="The sessions' optimizer.")] = None,
) -> Response:
    """Return up to `limit` sessions, without their tensors. `next_cursor` is null on the last page.

    With a filter a page may have fewer sessions, or none, before the last one. A damaged session is named beside them.
    """
    page = await service.listing.page(caller.tenant, limit, cursor, _filter(label, optimizer))

    def write() -> bytes:
        document: dict[str, Any] = {"sessions": list(map(summary, page.sessions)), "next_cursor": page.last}
        if page.unreadable:
            document["unreadable"] = [{"id": lost.session_id, "code": lost.error.code} for lost in page.unreadable]
        return orjson.dumps(document)

    return Response(await service.compute.run(write, page.work), media_type="application/json")


@router.get(
    "/v1/sessions/{session_id}",
    operation_id="getSession",
    summary="Read a session",
    responses=schema.answers(
        200, "Session", "session_not_found", "state_damaged",
        headers=schema.ETAG,
    ) | schema.UNCHANGED,
    openapi_extra={"parameters": [schema.IF_NONE_MATCH]},
)  # fmt: skip
async def get_session(request: Request, session_id: str, service: Has, caller: Reader) -> Response:
    """Return the session with every effective setting, and each tensor that it has seen."""
    head, session = await service.records.get(caller.tenant, session_id)
    if is_known(head.etag, request.headers.get("if-none-match", "")):
        return Response(status_code=304, headers={"ETag": head.etag})
    return await session_answer(service, session, 200, {"ETag": head.etag})


@router.patch(
    "/v1/sessions/{session_id}",
    operation_id="updateSession",
    summary="Change settings from the next step on",
    openapi_extra=schema.json_body("UpdateSession") | schema.ONCE,
    responses=schema.written(
        200, "Session", "malformed_body", "session_not_found", "session_busy", "round_open",
        "body_too_large", "unsupported_media_type", "invalid_session", "state_damaged",
    ),
)  # fmt: skip
async def update_session(request: Request, session_id: str, service: Has, caller: Writer) -> Response:
    """Merge changes into the settings (RFC 7396): those that are not named stay, `null` puts a default back."""
    changes, once = await read_document(request, service, caller.tenant, read_changes)
    written = await service.sessions.update(caller.tenant, session_id, changes, once)
    return await session_answer(service, written.session, 200, headers_of(written))


@router.delete(
    "/v1/sessions/{session_id}",
    status_code=204,
    operation_id="deleteSession",
    summary="Delete a session",
    openapi_extra=schema.ONCE,
    responses=schema.written(204, None, "session_not_found", "session_busy", "state_damaged", has_etag=False),
)
async def delete_session(request: Request, session_id: str, service: Has, caller: Writer) -> Response:
    """Delete the session, its state and its history for good. Sent again it is 404."""
    await service.sessions.delete(caller.tenant, session_id, read_once(request))
    service.waiting.wake(session_id, None)
    return Response(status_code=204)


@router.post(
    "/v1/sessions/{session_id}/fork",
    status_code=201,
    operation_id="forkSession",
    summary="Create a session in the same state",
    openapi_extra=schema.json_body("ForkSession") | schema.ONCE,
    responses=schema.written(
        201, "Session", "malformed_body", "quota_exceeded", "session_not_found", "session_busy", "body_too_large",
        "unsupported_media_type", "invalid_session", "tensor_mismatch", "state_damaged", "overloaded",
        headers={"Location": "The new session, relative to this path."},
    ),
)  # fmt: skip
async def fork_session(request: Request, session_id: str, service: Has, caller: Writer) -> Response:
    """The new session has the settings, state and digest of this one, and no history; `If-Match` is this one's. From
    then on neither knows of the other.
    """
    beside, once = await read_document(request, service, caller.tenant, read_fork)
    async with service.admission.place(caller.tenant):
        written = await service.sessions.fork(caller.tenant, session_id, beside, once)
    request.scope[SESSION] = written.session.id
    location = {"Location": f"../{written.session.id}"}
    return await session_answer(service, written.session, 201, location | headers_of(written))


@router.post(
    "/v1/sessions/{session_id}/undo",
    operation_id="undoStep",
    summary="Undo the last step",
    openapi_extra=schema.json_body("Undo") | schema.ONCE,
    responses=schema.written(
        200, "Session", "malformed_body", "session_not_found", "step_conflict", "undo_unavailable", "session_busy",
        "round_open", "workers_only",
        "body_too_large", "unsupported_media_type", "invalid_session", "state_damaged", "overloaded",
    ),
)  # fmt: skip
async def undo_step(request: Request, session_id: str, service: Has, caller: Writer) -> Response:
    """Go back to the state before the session's last step, to the bit: `step` must be its number. Settings stay. A
    session can undo as many steps as its `undo` says, until a state, parameters or tensors were put or edited.
    """
    step, once = await read_document(request, service, caller.tenant, read_undo)
    async with service.admission.place(caller.tenant):
        written = await service.sessions.undo(caller.tenant, session_id, step, once)
    return await session_answer(service, written.session, 200, headers_of(written))


@router.get(
    "/v1/sessions/{session_id}/history",
    operation_id="getHistory",
    summary="Read the history, oldest step first",
    responses=schema.answers(200, "History", "session_not_found", "state_damaged"),
)
async def get_history(
    session_id: str,
    service: Has,
    caller: Reader,
    after: Annotated[int | None, Query(ge=-1, le=2**53, description="The step that rows must be later than.")] = None,
    limit: Annotated[int | None, Query(ge=1, le=MOST_ROWS, description="Rows in one answer; 1,000 by default.")] = None,
    last: Annotated[int | None, Query(ge=1, le=MOST_ROWS, description="The number of newest rows.")] = None,
    points: Annotated[
        int | None, Query(ge=1, le=MOST_ROWS, description="The points of a plot to thin the rows for.")
    ] = None,
) -> Response:
    """Return one row per step. A skipped step's row has the number of the step before it; rows of one number come
    together. With `points`, also the marks: undos and changed settings."""
    if last is not None and (after is not None or limit is not None):
        raise MalformedQuery("`last` asks for the newest rows: send it without `after` and `limit`")
    if points is not None:
        if (after, limit, last) != (None, None, None):
            raise MalformedQuery("`points` thins the whole history: send it without `after`, `limit` and `last`")
        plot = await plotted(
            service.records, service.renewals.curves, service.compute, caller.tenant, session_id, points
        )
        return Response(plot, media_type="application/json")
    rows = await service.records.history(caller.tenant, session_id, -1 if after is None else after, limit or ROWS, last)
    text = await service.compute.run(lambda: b'{"history":[%b]}' % b",".join(rows), ROW_BYTES * len(rows))
    return Response(text, media_type="application/json")


def _filter(labels: list[str], optimizer: str | None) -> Filter:
    """Return the filter of the query. Raises `MalformedQuery` for one that no session can fit."""
    for label in labels:
        if ":" not in label:
            raise MalformedQuery(f"query parameter label is {label!r:.80}: it must be name:value, such as run:mnist-3")
    if optimizer is not None and optimizer not in OPTIMIZERS:
        raise MalformedQuery(f"query parameter optimizer is {optimizer!r:.80}; expected one of {', '.join(OPTIMIZERS)}")
    return Filter(labels, optimizer)
