"""The rounds of a session: contributions, what became of them, and closing by hand."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import partial
from typing import Annotated, Any

import numpy as np
import orjson
from fastapi import APIRouter, Query, Request, Response

from app.auth import Caller
from app.contributions.contributing import Pushed, in_dtypes
from app.errors import MalformedBody, RouteNotFound
from app.expansion import expanded_nbytes
from app.once import Once
from app.routes import openapi as schema
from app.routes.bodies import BuffersResponse, expansion_room, tensors_body
from app.routes.once import headers_of, read_once
from app.routes.prefer import LONGEST_WAIT, applied, prefers_minimal, wait_seconds
from app.routes.query import StrictRoute
from app.routes.waits import while_connected
from app.service import Has, Reader, Service, Writer
from app.step import nbytes_of
from app.web.phases import DECODE, end_phase
from app.web.telemetry import STEP
from app.wire.codec import Buffer, Codec
from app.wire.codecs import JSON, codec_accepted, codec_of
from app.wire.contributions import read_contribution
from app.workers.push import Packed
from optim_engine import Layout
from optim_engine.arrays import Array
from optim_engine.fields import LARGEST_INTEGER

router = APIRouter(tags=["rounds"], route_class=StrictRoute)

REFUSED = (
    "malformed_body", "quota_exceeded", "session_not_found", "not_acceptable", "step_conflict", "round_closed",
    "worker_fenced", "workers_only", "stale", "session_busy", "body_too_large", "unsupported_media_type",
    "invalid_session", "tensor_mismatch", "non_finite", "contribution_mismatch", "state_damaged", "overloaded",
)  # fmt: skip
"""The codes that a contribution may be refused with."""


@router.put(
    "/v1/sessions/{session_id}/rounds/{round_number}/contributions/{worker}",
    operation_id="contribute",
    summary="Contribute to a round",
    openapi_extra=schema.contribution_body() | schema.CONTRIBUTED,
    responses=schema.tensor_answers(
        "Contributed", *schema.WRITES, *REFUSED,
        headers=schema.WRITTEN | schema.PREFERENCE_APPLIED,
    ) | schema.also(202, "Pending", headers=schema.WRITTEN),
)  # fmt: skip
async def contribute(
    request: Request, session_id: str, round_number: str, worker: str, service: Has, caller: Writer
) -> Response:
    """Gradients as in a step. 202: they are stored, and the round waits for others. With `Prefer: wait=25`, 200 and the
    step's answer as soon as the round is a step. The same again is the same contribution, and needs no key.
    """
    number, seconds = _number(round_number), wait_seconds(request)
    with service.contributing.waiter(session_id, number) as waiter:
        pushed = await _push(request, service, caller, session_id, number, worker)
        if seconds and pushed.is_pending:
            await while_connected(request, waiter.wait(seconds))
            pushed = await service.contributing.outcome(caller.tenant, session_id, pushed)
    return await _answer(request, service, pushed)


async def _push(
    request: Request, service: Service, caller: Caller, session_id: str, number: int, worker: str
) -> Pushed:
    """Take the contribution in the body, whose memory is free afterwards."""
    conditions = read_once(request)
    async with _packed(request, service, caller, session_id, conditions) as packed:
        return await service.contributing.contribute(caller.tenant, session_id, number, worker, packed)


@asynccontextmanager
async def _packed(
    request: Request, service: Service, caller: Caller, session_id: str, conditions: Once
) -> AsyncIterator[Packed]:
    """Read the contribution in the body, and hold the memory that it takes.

    Raises `NotAcceptable` if the answer would be too long.
    """
    codec, answer_codec = _codecs(request)
    async with tensors_body(request, service, caller.tenant, session_id) as body:
        packed = await service.compute.run(
            lambda: read_contribution(codec, body, service.limits, conditions), len(body)
        )
        end_phase(DECODE)
        layout = (await service.records.known(caller.tenant, session_id)).layout
        if answer_codec is JSON and not prefers_minimal(request):
            answer_codec.check_answer(_outlines(layout), service.limits)
        sent = packed.upload.request
        room: AbstractAsyncContextManager[None] = nullcontext()
        if sent.is_compressed:
            room = expansion_room(request, service, caller.tenant, body, expanded_nbytes(sent, layout))
        async with room:
            yield packed


def _outlines(layout: Layout) -> Iterator[Array]:
    """Yield an array like each held parameter, which takes no memory."""
    for entry in layout.entries.values():
        yield np.broadcast_to(np.zeros((), entry.spec.dtype), entry.spec.shape)


async def _answer(request: Request, service: Service, pushed: Pushed) -> Response:
    """Return the step's answer, in the form of the request or the one that it accepts, or what is known instead."""
    headers = headers_of(pushed)
    answered = pushed.answer
    if answered is None:
        return _document(pushed.document, 202 if pushed.is_pending else 200, headers)
    codec, minimal = _codecs(request)[1], prefers_minimal(request)

    request.scope[STEP] = answered.kept.step

    def write() -> list[Buffer]:
        answer = in_dtypes(answered, pushed.dtypes)
        return codec.write_answer(answer.without_params() if minimal else answer, pushed.forms)

    buffers = await service.compute.run(write, nbytes_of(answered.params))
    return BuffersResponse(buffers, codec.media_type, headers | applied(minimal=minimal))


@router.put(
    "/v1/sessions/{session_id}/contributions/{worker}/{seq}",
    operation_id="contributeAsync",
    summary="Contribute in the asynchronous mode",
    openapi_extra=schema.contribution_body() | schema.STEPS_ONCE,
    responses=schema.tensor_answers(
        "AsyncAnswer", *schema.WRITES, *REFUSED, "replay_differs",
        headers=schema.WRITTEN | schema.PREFERENCE_APPLIED,
    ),
)  # fmt: skip
async def contribute_async(
    request: Request, session_id: str, worker: str, seq: str, service: Has, caller: Writer
) -> Response:
    """Gradients as in a step, with the `base_step` whose parameters they were computed from: one step, and its answer.
    The worker numbers its contributions upwards. The last number again gets the same answer, without parameters if
    others have stepped since.
    """
    number, codec, minimal = _number(seq, "contribution"), _codecs(request)[1], prefers_minimal(request)
    async with _packed(request, service, caller, session_id, read_once(request)) as packed:
        if packed.upload.base_step is None:
            raise MalformedBody("`base_step` is needed: the step whose parameters the gradients were computed from")
        take = service.async_contributing.contribute
        answer = await take(caller.tenant, session_id, worker, number, packed)
        written = answer.without_params() if minimal else answer
        write = partial(codec.write_answer, written, packed.upload.request.forms)
        buffers = await service.compute.run(write, nbytes_of(written.params))
    service.metrics.steps.count(answer.outcome)
    request.scope[STEP] = answer.kept.step
    return BuffersResponse(buffers, codec.media_type, headers_of(answer) | applied(minimal=minimal))


@router.get(
    "/v1/sessions/{session_id}/rounds/{round_number}",
    operation_id="getRound",
    summary="Read a round",
    responses=schema.answers(
        200, "Round", "session_not_found", "step_conflict", "workers_only", "session_busy", "state_damaged"
    ),
)
async def get_round(
    request: Request,
    session_id: str,
    round_number: str,
    service: Has,
    caller: Reader,
    wait: Annotated[int, Query(ge=0, le=LONGEST_WAIT, description="Seconds to wait for it to be applied.")] = 0,
) -> Response:
    """Return the round as it is, with each contribution and its fate, for as long as the history has its step. With
    `wait` the answer comes once the round is applied, or after so many seconds.
    """
    looking = service.rounds.round(caller.tenant, session_id, _number(round_number), wait)
    found = await (while_connected(request, looking) if wait else looking)
    return _document(found, 200)


@router.post(
    "/v1/sessions/{session_id}/rounds/{round_number}/close",
    operation_id="closeRound",
    summary="Close a round with those who are in",
    openapi_extra=schema.ONCE,
    responses=schema.written(
        200, "Round", "session_not_found", "step_conflict", "round_closed", "no_quorum", "workers_only", "session_busy",
        "invalid_session", "tensor_mismatch", "non_finite", "state_damaged", "overloaded",
    ),
)  # fmt: skip
async def close_round(request: Request, session_id: str, round_number: str, service: Has, caller: Writer) -> Response:
    """Make a step of the contributions that are in, without waiting for others: 200, the round. There must be a
    quorum. It has no body.
    """
    once = read_once(request)
    async with service.admission.place(caller.tenant):
        closed = await service.rounds.close(caller.tenant, session_id, _number(round_number), once)
    return _document(closed.document, 200, headers_of(closed))


def _codecs(request: Request) -> tuple[Codec, Codec]:
    """Return the codecs of a body and of its answer. Raises `UnsupportedMediaType` and `NotAcceptable`."""
    codec = codec_of(request.headers.get("content-type"), request.headers.get("content-encoding"))
    return codec, codec_accepted(request.headers.get("accept"), codec)


def _number(text: str, what: str = "round") -> int:
    """Return a number in a path. Raises `RouteNotFound`."""
    if text.isascii() and text.isdigit() and 1 <= int(text[:20]) <= LARGEST_INTEGER:
        return int(text)
    raise RouteNotFound(f"the number of a {what} is a whole number from 1 to {LARGEST_INTEGER}, not {text!r:.40}")


def _document(document: dict[str, Any], status: int, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(document), status, headers, "application/json")
