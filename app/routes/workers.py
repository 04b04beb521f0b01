"""The workers of a session: join, renew a lease, leave, and the list of them."""

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request, Response

from app.routes import openapi as schema
from app.routes.documents import read_document
from app.routes.once import headers_of, read_once
from app.routes.query import StrictRoute
from app.service import Has, Reader, Writer
from app.wire.session_json import read_joining

router = APIRouter(tags=["workers"], route_class=StrictRoute)


@router.put(
    "/v1/sessions/{session_id}/workers/{worker}",
    operation_id="joinWorker",
    summary="Join, or renew a lease",
    openapi_extra=schema.json_body("JoinWorker") | schema.ONCE,
    responses=schema.written(
        201, "Worker", "malformed_body", "quota_exceeded", "session_not_found", "session_busy", "worker_fenced",
        "workers_only", "body_too_large", "unsupported_media_type", "invalid_session", "state_damaged",
    ) | schema.also(200, "Worker", headers=schema.WRITTEN),
)  # fmt: skip
async def join_worker(request: Request, session_id: str, worker: str, service: Has, caller: Writer) -> Response:
    """`{}` joins: 201, and a new epoch, which fences the holder of an older one. `{"epoch": n}` renews the lease of
    that epoch: 200. A lease that has expired fences nobody.
    """
    epoch, once = await read_document(request, service, caller.tenant, read_joining)
    joined = await service.members.join(caller.tenant, session_id, worker, epoch, once)
    return _answer(joined.document, 201 if epoch is None else 200, headers_of(joined))


@router.get(
    "/v1/sessions/{session_id}/workers",
    operation_id="listWorkers",
    summary="List the workers",
    responses=schema.answers(200, "WorkerList", "session_not_found", "session_busy", "state_damaged"),
)
async def list_workers(session_id: str, service: Has, caller: Reader) -> Response:
    """Return each worker that has joined and not left: its lease, its last contribution, and how late it was."""
    return _answer(await service.members.workers(caller.tenant, session_id), 200)


@router.delete(
    "/v1/sessions/{session_id}/workers/{worker}",
    status_code=204,
    operation_id="leaveWorker",
    summary="Leave",
    openapi_extra=schema.ONCE,
    responses=schema.written(204, None, "session_not_found", "session_busy", "worker_fenced", "state_damaged"),
)
async def leave_worker(
    request: Request,
    session_id: str,
    worker: str,
    service: Has,
    caller: Writer,
    epoch: Annotated[int | None, Query(ge=1, le=2**53, description="Leave only if this is the worker's epoch.")] = None,
) -> Response:
    """Forget the worker. Its contributions stay. A worker that is not there has left."""
    left = await service.members.leave(caller.tenant, session_id, worker, epoch, read_once(request))
    return Response(status_code=204, headers=headers_of(left))


def _answer(document: dict[str, Any], status: int, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(document), status, headers, "application/json")
