"""The tensors of a session: their health; renamed, removed, begun anew."""

from functools import partial

import orjson
from fastapi import APIRouter, Request, Response

from app.routes import openapi as schema
from app.routes.documents import read_document, session_answer
from app.routes.once import headers_of, is_known
from app.routes.query import StrictRoute
from app.service import Has, Reader, Writer
from app.tensor_health import health
from app.wire.tensor_edits import read_edits

router = APIRouter(tags=["tensors"], route_class=StrictRoute)


@router.get(
    "/v1/sessions/{session_id}/tensors",
    operation_id="getTensors",
    summary="Read the health of tensors",
    responses=schema.answers(
        200, "Tensors", "session_not_found", "session_busy", "state_damaged", headers=schema.ETAG
    ) | schema.UNCHANGED,
    openapi_extra={"parameters": [schema.IF_NONE_MATCH]},
)  # fmt: skip
async def get_tensors(request: Request, session_id: str, service: Has, caller: Reader) -> Response:
    """The norms of each tensor's parameter, moments and last update, computed now; with the session's `ETag`."""
    if known := request.headers.get("if-none-match", ""):
        head = await service.records.head(caller.tenant, session_id)
        if is_known(head.etag, known):
            return Response(status_code=304, headers={"ETag": head.etag})
    loaded = await service.records.load(caller.tenant, session_id)
    text = await service.compute.run(
        lambda: orjson.dumps(health(loaded, service.compute.plain)),
        loaded.head.state_bytes + 4 * loaded.session.breadth,
    )
    return Response(text, 200, {"ETag": loaded.head.etag}, "application/json")


@router.patch(
    "/v1/sessions/{session_id}/tensors",
    operation_id="editTensors",
    summary="Rename, remove and reset tensors",
    openapi_extra=schema.json_body("TensorEdits") | schema.ONCE,
    responses=schema.written(
        200, "Session", "malformed_body", "session_not_found", "session_busy", "workers_only",
        "round_open", "body_too_large",
        "unsupported_media_type", "invalid_session", "tensor_mismatch", "state_damaged",
    ),
)  # fmt: skip
async def edit_tensors(request: Request, session_id: str, service: Has, caller: Writer) -> Response:
    """All at once, so two tensors may change names. A removed tensor is forgotten; a reset one keeps its shape and
    parameter, and begins anew. Steps before can no longer be answered again.
    """
    read = partial(read_edits, limits=service.limits)
    edits, once = await read_document(request, service, caller.tenant, read)
    written = await service.sessions.edit(caller.tenant, session_id, edits, once)
    return await session_answer(service, written.session, 200, headers_of(written))
