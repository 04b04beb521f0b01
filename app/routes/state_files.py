"""State files that come in: read with a place taken, as every body of tensors."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Request

from app.errors import MalformedBody
from app.once import Once
from app.room import HEADER_BYTES
from app.routes.bodies import check_length, longest_body, tensors_body
from app.routes.once import read_once
from app.service import Service
from app.web.phases import DECODE, end_phase
from app.wire.state_file import StateFile


@asynccontextmanager
async def state_file(
    request: Request, service: Service, tenant: str, session_id: str | None = None, *, digest_needed: bool = True
) -> AsyncIterator[tuple[StateFile, Once]]:
    """Yield the file of a request's body, and what the request says of being done once.

    The limit of a body holds for the bytes of its tensors, as it does for a session's state: what could be downloaded
    can be uploaded again, however long its header is. What is too long and no state file is too long.
    """
    conditions = read_once(request)
    async with tensors_body(request, service, tenant, session_id, beside=HEADER_BYTES) as body:
        try:
            file, once = await service.compute.run(
                lambda: (StateFile(body, service.limits, digest_needed=digest_needed), conditions.with_body(body)),
                len(body),
            )
        except MalformedBody:
            check_length(len(body), longest_body(request, service))
            raise
        end_phase(DECODE)
        yield file, once
