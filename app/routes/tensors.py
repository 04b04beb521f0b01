"""The tensors of a session: renamed, removed, begun anew."""

from functools import partial

from fastapi import APIRouter, Request, Response

from app.routes import openapi as schema
from app.routes.documents import read_document, session_answer
from app.routes.once import headers_of
from app.routes.query import StrictRoute
from app.service import Has, Writer
from app.wire.tensor_edits import read_edits

router = APIRouter(tags=["tensors"], route_class=StrictRoute)


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
