"""The main job: one optimizer step."""

from fastapi import APIRouter, Request, Response

from app.changes import StepRequest
from app.errors import MalformedHeader
from app.routes import openapi as schema
from app.routes.bodies import BuffersResponse, tensors_body
from app.routes.query import StrictRoute
from app.service import Has, Writer
from app.store.base import checksum_of
from app.wire.codecs import codec_accepted, codec_of

router = APIRouter(tags=["steps"], route_class=StrictRoute)

LONGEST_KEY = 255


@router.post(
    "/v1/sessions/{session_id}/steps",
    operation_id="takeStep",
    summary="Take one optimizer step",
    openapi_extra=schema.tensor_body("Step")
    | {"parameters": [schema.IDEMPOTENCY_KEY]},
    responses=schema.tensor_answers(
        "StepAnswer", "malformed_body", "malformed_header", "quota_exceeded", "session_not_found",
        "not_acceptable", "step_conflict", "session_busy", "body_too_large", "unsupported_media_type",
        "invalid_session", "tensor_mismatch", "non_finite", "idempotency_mismatch", "state_damaged", "overloaded",
        headers={"Idempotent-Replayed": "`true` where the step had been answered before."},
    ),
)  # fmt: skip
async def take_step(request: Request, session_id: str, service: Has, caller: Writer) -> Response:
    """Gradients in (and parameters, unless the session holds them), new parameters out; stored before the answer."""
    codec = codec_of(request.headers.get("content-type"), request.headers.get("content-encoding"))
    answer_codec = codec_accepted(request.headers.get("accept"), codec)
    key = idempotency_key(request.headers.get("idempotency-key"))
    async with tensors_body(request, service) as body:
        read, digest = await service.compute.run(
            lambda: (codec.read_step(body, service.limits), checksum_of(body)), len(body)
        )
        wanted = StepRequest(read.grads, digest, read.params, read.step, key, read.lr, read.loss)
        answer = await service.sessions.step(caller.tenant, session_id, wanted)
        beside = {part: getattr(answer, part) for part in ("step", "skipped", "digest", "params_digest", "metrics")}
        buffers = await service.compute.run(
            lambda: answer_codec.write_answer(beside, answer.params, read.forms), len(body)
        )
    service.metrics.steps.labels(answer.outcome).inc()
    headers = {"Idempotent-Replayed": "true"} if answer.replayed else {}
    return BuffersResponse(buffers, answer_codec.media_type, headers)


def idempotency_key(header: str | None) -> str | None:
    """The key of the header: a quoted string, or the same without its quotes."""
    if header is None:
        return None
    key = header.strip()
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if not 1 <= len(key) <= LONGEST_KEY or '"' in key:
        raise MalformedHeader(f'Idempotency-Key must be a quoted string of 1 to {LONGEST_KEY} characters: "…"')
    return key
