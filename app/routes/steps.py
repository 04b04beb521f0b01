"""The main job: one optimizer step."""

from fastapi import APIRouter, Request, Response

from app.routes import openapi as schema
from app.routes.bodies import BuffersResponse, tensors_body
from app.routes.once import headers_of, read_once
from app.routes.query import StrictRoute
from app.routes.region_bodies import places_of, write_into_room
from app.service import Has, Writer
from app.wire.codecs import codec_accepted, codec_of

router = APIRouter(tags=["steps"], route_class=StrictRoute)


@router.post(
    "/v1/sessions/{session_id}/steps",
    operation_id="takeStep",
    summary="Take one optimizer step",
    openapi_extra=schema.tensor_body("Step") | schema.ONCE,
    responses=schema.tensor_answers(
        "StepAnswer", *schema.WRITES, "malformed_body", "quota_exceeded", "session_not_found",
        "not_acceptable", "step_conflict", "params_conflict", "session_busy", "body_too_large",
        "unsupported_media_type", "invalid_session", "tensor_mismatch", "non_finite", "state_damaged",
        "replay_differs", "overloaded",
        headers=schema.WRITTEN,
    ),
)  # fmt: skip
async def take_step(http: Request, session_id: str, service: Has, caller: Writer) -> Response:
    """Gradients in (and parameters, unless the session holds them), new parameters out; stored before the answer."""
    codec = codec_of(http.headers.get("content-type"), http.headers.get("content-encoding"))
    answer_codec = codec_accepted(http.headers.get("accept"), codec)
    once = read_once(http)
    places = places_of(http, codec)
    async with tensors_body(http, service, caller.tenant, session_id, region_body=places and places.body) as body:
        request = await service.compute.run(
            lambda: codec.read_step(body, service.limits, once.with_body(body)), len(body)
        )
        if answer_codec is not codec:
            answer_codec.check_answer(request.grads, service.limits)
        answer = await service.stepping.step(caller.tenant, session_id, request)
        buffers = await service.compute.run(lambda: answer_codec.write_answer(answer, request.forms), len(body))
        headers = headers_of(answer)
        if places is not None:
            buffers, where = await write_into_room(service.compute, buffers, places.room)
            headers = {**headers, **where}
    service.metrics.count_step(answer.outcome)
    return BuffersResponse(buffers, answer_codec.media_type, headers)
