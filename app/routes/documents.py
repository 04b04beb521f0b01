"""Documents in and out: JSON that holds no tensors."""

from collections.abc import Callable
from typing import Any, TypeVar

import orjson
from fastapi import Request, Response

from app.errors import UnsupportedMediaType
from app.once import Once
from app.routes.bodies import Longest, longest_body, whole_body
from app.routes.once import read_once
from app.service import Service
from app.session import Session
from app.web.phases import DECODE, ENCODE, RECEIVE, end_phase, ending
from app.wire.codecs import JSON, codec_of
from app.wire.json_tensors import read_json
from app.wire.session_json import view

LARGEST_DOCUMENT = 1 << 20
"""Bytes of a request that says settings; tensors have a limit of their own."""

T = TypeVar("T")


async def read_document(request: Request, service: Service, tenant: str, read: Callable[[Any], T]) -> tuple[T, Once]:
    """Return what is read of a body's JSON, and what the request says of being done once."""
    once = read_once(request)
    content_type = request.headers.get("content-type")
    if codec_of(content_type, request.headers.get("content-encoding")) is not JSON:
        raise UnsupportedMediaType(f"settings are {JSON.media_type}, not {content_type!r:.80}")
    limit = min(longest_body(request, service), Longest(LARGEST_DOCUMENT, "say less in the settings"))
    async with whole_body(request, service, tenant, limit) as body:
        end_phase(RECEIVE)
        work = service.compute.run(lambda: (read(read_json(body, service.limits)), once.with_body(body)), len(body))
        return await ending(DECODE, work)


async def session_answer(service: Service, session: Session, status: int, headers: dict[str, str]) -> Response:
    """Return the session as an answer; one with workers has its open round as it is now."""
    standing = await service.rounds.standing(session)
    beside = {} if standing is None else {"round": standing}
    text = await ending(ENCODE, service.compute.run(lambda: orjson.dumps(view(session) | beside), session.breadth))
    return Response(text, status, headers, "application/json")
