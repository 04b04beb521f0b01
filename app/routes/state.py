"""The whole state, as a safetensors file."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response

from app.errors import UnsupportedMediaType
from app.routes import openapi as schema
from app.routes.bodies import BuffersResponse
from app.routes.once import headers_of
from app.routes.query import StrictRoute
from app.routes.state_files import state_file
from app.service import Has, Reader, Writer
from app.wire.codecs import SAFETENSORS, codec_accepted, codec_of
from app.wire.state_file import write_state

router = APIRouter(tags=["state"], route_class=StrictRoute)


@router.get(
    "/v1/sessions/{session_id}/state",
    operation_id="getState",
    summary="Download the state",
    response_class=Response,
    responses=schema.file_answer("session_not_found", "not_acceptable", "session_busy", "state_damaged"),
)
async def get_state(request: Request, session_id: str, service: Has, caller: Reader) -> Response:
    """Moments, counts, held parameters and settings, all of one moment, with the digest that names them."""
    codec_accepted(request.headers.get("accept"), SAFETENSORS, offered=[SAFETENSORS])
    loaded = await service.records.load(caller.tenant, session_id)
    buffers = await service.compute.run(
        lambda: write_state(loaded.session, loaded.state), loaded.head.state_bytes + loaded.session.breadth
    )
    disposition = f'attachment; filename="{session_id}.safetensors"'
    return BuffersResponse(buffers, SAFETENSORS.media_type, {"Content-Disposition": disposition})


@router.put(
    "/v1/sessions/{session_id}/state",
    status_code=204,
    operation_id="putState",
    summary="Upload a state",
    openapi_extra=schema.file_body() | schema.ONCE,
    responses=schema.written(
        204, None, "malformed_body", "quota_exceeded", "session_not_found", "session_busy", "workers_only",
        "round_open", "body_too_large",
        "unsupported_media_type", "invalid_state", "tensor_mismatch", "state_damaged", "overloaded",
    ),
)  # fmt: skip
async def put_state(
    request: Request,
    session_id: str,
    service: Has,
    caller: Writer,
    digest: Annotated[Literal["none"] | None, Query(description="`none` takes a file that names no digest.")] = None,
) -> Response:
    """Into this session, whose own settings stay. Refused whole unless every tensor fits by name, shape and dtype."""
    content_type = request.headers.get("content-type")
    if codec_of(content_type, request.headers.get("content-encoding")) is not SAFETENSORS:
        raise UnsupportedMediaType(f"a state is {SAFETENSORS.media_type}, not {content_type!r:.80}")
    async with state_file(request, service, caller.tenant, session_id, digest_needed=digest is None) as (file, once):
        written = await service.sessions.restore(caller.tenant, session_id, file.state, file.fitted, once)
    return Response(status_code=204, headers=headers_of(written))
