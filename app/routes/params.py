"""The parameters of a session that holds them."""

from collections.abc import Mapping
from math import prod
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from app.errors import InvalidSession, UnsupportedMediaType
from app.routes import openapi as schema
from app.routes.bodies import BuffersResponse, tensors_body
from app.routes.once import headers_of, is_known, read_once
from app.routes.query import StrictRoute
from app.service import Has, Reader, Writer
from app.session import Session
from app.web.phases import DECODE, end_phase
from app.wire.codec import Buffer
from app.wire.codecs import JSON, codec_accepted, codec_of
from app.wire.named_rows import read_rows
from optim_engine import Layout, State, held_params
from optim_engine.arrays import Arrays
from optim_engine.held_views import View, viewed, views_of

router = APIRouter(tags=["params"], route_class=StrictRoute)

_VIEWS = (
    "Another view than the parameters that steps answer: `eval` for those to evaluate with by a schedule-free "
    "optimizer, `average` for the average that the session keeps."
)

_NEEDS: Mapping[View, str] = {
    "eval": "create one by `schedule_free_adamw` or `schedule_free_sgd`",
    "average": "create one with `average`",
}


@router.get(
    "/v1/sessions/{session_id}/params",
    operation_id="getParams",
    summary="Read the held parameters",
    responses=schema.tensor_answers(
        "Params", "session_not_found", "not_acceptable", "session_busy", "invalid_session",
        "state_damaged",
        headers=schema.ETAG,
    ) | schema.UNCHANGED,
    openapi_extra={"parameters": [schema.IF_NONE_MATCH]},
)  # fmt: skip
async def get_params(
    request: Request,
    session_id: str,
    service: Has,
    caller: Reader,
    view: Annotated[View | None, Query(description=_VIEWS)] = None,
) -> Response:
    """All that the session holds; JSON, or safetensors by `Accept`, with the session's `ETag`."""
    codec = codec_accepted(request.headers.get("accept"), JSON)
    if known := request.headers.get("if-none-match", ""):
        head, session = await service.records.get(caller.tenant, session_id)
        session.check_holds()
        if is_known(head.etag, known):
            return Response(status_code=304, headers={"ETag": head.etag})
    loaded = await service.records.load(caller.tenant, session_id)
    loaded.session.check_holds()
    if view is not None:
        _check_view(loaded.session, view)

    def write() -> list[Buffer]:
        params: Arrays = viewed(loaded.session.config, loaded.state, view) if view else _held(loaded.state)
        codec.check_answer(params.values(), service.limits)
        return codec.write_params(params)

    buffers = await service.compute.run(write, loaded.head.state_bytes + loaded.session.breadth)
    return BuffersResponse(buffers, codec.media_type, {"ETag": loaded.head.etag})


@router.put(
    "/v1/sessions/{session_id}/params",
    status_code=204,
    operation_id="putParams",
    summary="Set held parameters",
    openapi_extra=schema.tensor_body("Params") | schema.ONCE,
    responses=schema.written(
        204, None, "malformed_body", "quota_exceeded", "session_not_found", "session_busy", "workers_only",
        "round_open", "body_too_large",
        "unsupported_media_type", "invalid_session", "tensor_mismatch", "state_damaged",
        "overloaded",
    ),
)  # fmt: skip
async def put_params(request: Request, session_id: str, service: Has, caller: Writer) -> Response:
    """The tensors that are named are replaced, others stay; moments and the step count stay as they are."""
    codec = codec_of(request.headers.get("content-type"), request.headers.get("content-encoding"))
    conditions = read_once(request)
    async with tensors_body(request, service, caller.tenant, session_id, Session.check_holds) as body:
        params, once = await service.compute.run(
            lambda: (codec.read_params(body, service.limits), conditions.with_body(body)), len(body)
        )
        end_phase(DECODE)
        written = await service.sessions.hold(caller.tenant, session_id, params, once)
    return Response(status_code=204, headers=headers_of(written))


@router.post(
    "/v1/sessions/{session_id}/params/rows",
    operation_id="getRows",
    summary="Read rows of held parameters",
    openapi_extra=schema.json_body("Rows"),
    responses=schema.tensor_answers(
        "RowsOfParams", "malformed_body", "session_not_found", "not_acceptable", "session_busy", "body_too_large",
        "unsupported_media_type", "invalid_session", "tensor_mismatch", "state_damaged", "overloaded",
    ),
)  # fmt: skip
async def get_rows(request: Request, session_id: str, service: Has, caller: Reader) -> Response:
    """Read those rows as the next step will find them, with the decay of lazy rows caught up. Nothing is changed.

    JSON, or safetensors by `Accept`, in the form of a step's answer.
    """
    codec = codec_accepted(request.headers.get("accept"), JSON)
    content_type = request.headers.get("content-type")
    if codec_of(content_type, request.headers.get("content-encoding")) is not JSON:
        raise UnsupportedMediaType(f"rows are named in {JSON.media_type}, not {content_type!r:.80}")
    async with tensors_body(request, service, caller.tenant, session_id, Session.check_holds) as body:
        rows = await service.compute.run(lambda: read_rows(body, service.limits), len(body))
        end_phase(DECODE)
        loaded = await service.records.load(caller.tenant, session_id)
        loaded.session.check_holds()

        def write() -> list[Buffer]:
            params = held_params(loaded.state, rows)
            codec.check_answer([*params.values(), *rows.values()], service.limits)
            return codec.write_params(params, rows)

        nbytes = _nbytes_of(rows, loaded.session.layout)
        buffers = await service.compute.run(write, nbytes + 16 * len(body))
    return BuffersResponse(buffers, codec.media_type)


def _nbytes_of(rows: Arrays, layout: Layout) -> int:
    """Return how many bytes those rows have; a tensor that the session lacks has none."""
    specs = {name: layout.entries[name].spec for name in rows if name in layout.entries}
    return sum(len(rows[name]) * prod(spec.shape[1:]) * spec.dtype.itemsize for name, spec in specs.items())


def _held(state: State) -> Arrays:
    return held_params(state, dict.fromkeys(state.held()))


def _check_view(session: Session, view: View) -> None:
    """Raise `InvalidSession` unless the session has that view."""
    if view not in (views := views_of(session.config)):
        there = f"it has {', '.join(views)}" if views else "it has none but the parameters that steps answer"
        raise InvalidSession(f"the session has no view {view!r}; {there}; {_NEEDS[view]}", where="view")
