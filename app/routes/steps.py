"""The main job: one optimizer step, and its preview."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace

from fastapi import APIRouter, Request, Response

from app.auth import Caller
from app.errors import MalformedHeader
from app.expansion import NOTHING, expanded_nbytes, outline
from app.once import Once
from app.routes import openapi as schema
from app.routes.bodies import BuffersResponse, expansion_room, tensors_body
from app.routes.once import headers_of, read_once
from app.routes.prefer import applied, prefers_minimal
from app.routes.query import StrictRoute
from app.routes.region_bodies import places_of, write_into_room
from app.service import Has, Service, Writer
from app.step import StepAnswer, StepRequest
from app.web.phases import DECODE, end_phase
from app.web.telemetry import STEP
from app.wire.codecs import codec_accepted, codec_of

router = APIRouter(tags=["steps"], route_class=StrictRoute)

Verb = Callable[[str, str, StepRequest], Awaitable[StepAnswer]]

REFUSED = (
    "malformed_body", "quota_exceeded", "session_not_found", "not_acceptable", "step_conflict", "params_conflict",
    "session_busy", "body_too_large", "unsupported_media_type", "invalid_session", "tensor_mismatch", "non_finite",
    "state_damaged", "replay_differs", "overloaded",
)  # fmt: skip
"""The codes that a step and its preview may be refused with."""


@router.post(
    "/v1/sessions/{session_id}/steps",
    operation_id="takeStep",
    summary="Take one optimizer step",
    openapi_extra=schema.step_body() | schema.STEPS_ONCE,
    responses=schema.tensor_answers(
        "StepAnswer", *schema.WRITES, *REFUSED, "workers_only", "round_open",
        headers=schema.WRITTEN | schema.PREFERENCE_APPLIED,
    ),
)  # fmt: skip
async def take_step(http: Request, session_id: str, service: Has, caller: Writer) -> Response:
    """Gradients in (and parameters, unless the session holds them), new parameters out; stored before the answer."""
    answer, response = await _answer(http, service, caller, session_id, read_once, service.stepping.step)
    service.metrics.steps.count(answer.outcome)
    http.scope[STEP] = answer.kept.step
    return response


@router.post(
    "/v1/sessions/{session_id}/preview",
    operation_id="previewStep",
    summary="Preview one optimizer step",
    openapi_extra=schema.step_body() | {"parameters": [schema.IF_MATCH, schema.PREFER]},
    responses=schema.tensor_answers(
        "Preview", "malformed_header", "precondition_failed", *REFUSED,
        headers=schema.WRITTEN | schema.PREFERENCE_APPLIED,
    ),
)  # fmt: skip
async def preview_step(http: Request, session_id: str, service: Has, caller: Writer) -> Response:
    """Return what a step with this body would be answered or refused with now. Nothing is kept, so a key is refused.

    It needs the role `write`, because it costs as much as a step.
    """
    return (await _answer(http, service, caller, session_id, _read_keyless, service.stepping.preview))[1]


def _read_keyless(http: Request) -> Once:
    """Return the conditions of the step that is previewed, by which one that was taken is known."""
    once = read_once(http)
    if once.key is not None:
        raise MalformedHeader("a preview keeps nothing that a key could name: leave Idempotency-Key out")
    return replace(once, what=once.what.removesuffix("preview") + "steps")


async def _answer(
    http: Request,
    service: Service,
    caller: Caller,
    session_id: str,
    read_conditions: Callable[[Request], Once],
    verb: Verb,
) -> tuple[StepAnswer, Response]:
    """Return the answer of `verb` to the step in the body, as it is and as it is sent."""
    codec = codec_of(http.headers.get("content-type"), http.headers.get("content-encoding"))
    answer_codec = codec_accepted(http.headers.get("accept"), codec)
    once, minimal = read_conditions(http), prefers_minimal(http)
    places = places_of(http, codec)
    async with tensors_body(http, service, caller.tenant, session_id, region_body=places and places.body) as body:
        request = await service.compute.run(
            lambda: codec.read_step(body, service.limits, once.with_body_of_step(body)), len(body)
        )
        if places is not None:
            request = replace(request, may_change=True)
        layout = NOTHING
        room: AbstractAsyncContextManager[None] = nullcontext()
        if request.is_compressed:
            layout = (await service.records.known(caller.tenant, session_id)).layout
            room = expansion_room(http, service, caller.tenant, body, expanded_nbytes(request, layout))
        if answer_codec is not codec and not minimal:
            answer_codec.check_answer([*outline(request, layout).values(), *request.rows.values()], service.limits)
        end_phase(DECODE)
        async with room:
            answer = await verb(caller.tenant, session_id, request)
        written = answer.without_params() if minimal else answer
        buffers = await service.compute.run(lambda: answer_codec.write_answer(written, request.forms), len(body))
        headers = headers_of(answer) | applied(minimal=minimal)
        if places is not None:
            buffers, where = await write_into_room(service.compute, buffers, places.room)
            headers = {**headers, **where}
    return answer, BuffersResponse(buffers, answer_codec.media_type, headers)
