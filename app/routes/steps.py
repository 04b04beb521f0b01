"""The main job: one optimizer step."""

from fastapi import APIRouter, Request, Response

from app.changes import StepRequest
from app.routes import openapi as schema
from app.routes.bodies import BuffersResponse, tensors_body
from app.routes.once import read_once
from app.routes.query import StrictRoute
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
async def take_step(request: Request, session_id: str, service: Has, caller: Writer) -> Response:
    """Gradients in (and parameters, unless the session holds them), new parameters out; stored before the answer."""
    codec = codec_of(request.headers.get("content-type"), request.headers.get("content-encoding"))
    answer_codec = codec_accepted(request.headers.get("accept"), codec)
    conditions = read_once(request)
    async with tensors_body(request, service, caller.tenant, session_id) as body:
        read, once = await service.compute.run(
            lambda: (codec.read_step(body, service.limits), conditions.with_body(body)), len(body)
        )
        if answer_codec is not codec:
            answer_codec.check_answer(read.grads, service.limits)
        wanted = StepRequest(read.grads, once, read.params, read.step, read.lr, read.loss)
        answer = await service.sessions.step(caller.tenant, session_id, wanted)
        beside = {
            part: getattr(answer, part)
            for part in ("step", "skipped", "digest", "params_digest", "metrics", "warnings")
        }
        buffers = await service.compute.run(
            lambda: answer_codec.write_answer(beside, answer.params, read.forms), len(body)
        )
    service.metrics.steps.labels(answer.outcome).inc()
    headers = {"ETag": answer.etag, **({"Idempotent-Replayed": "true"} if answer.replayed else {})}
    return BuffersResponse(buffers, answer_codec.media_type, headers)
