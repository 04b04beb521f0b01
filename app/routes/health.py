"""The health of the service, and its metrics."""

from importlib.metadata import version

from fastapi import APIRouter, Response

from app.metrics.exposition import MEDIA_TYPE
from app.routes import openapi as schema
from app.routes.query import StrictRoute
from app.service import Admin, Has

router = APIRouter(tags=["health"], route_class=StrictRoute)


@router.get(
    "/livez",
    operation_id="getLiveness",
    summary="Whether the process lives",
    responses=schema.answers(200, "Liveness", keyed=False),
)
async def livez() -> dict[str, str]:
    """Check nothing: answered as long as the process answers."""
    return {"status": "alive"}


@router.get(
    "/readyz",
    operation_id="getReadiness",
    summary="Whether the store can be written",
    responses=schema.answers(200, "Readiness", "store_unavailable", "overloaded", keyed=False),
)
async def readyz(service: Has) -> dict[str, str | int]:
    """Write to the store; 503 if that fails, or takes longer than two seconds, or if the service is about to stop."""
    await service.readiness.check()
    scheme = service.settings.store.partition(":")[0]
    kernel = service.compute.kernel
    return {
        "status": "ready",
        "store": scheme,
        "replicas": service.settings.redis_replicas,
        "durability": service.readiness.durability,
        "kernel": kernel,
        "version": version("optim-service"),
    }


@router.get(
    "/metrics",
    operation_id="getMetrics",
    summary="Prometheus metrics",
    response_class=Response,
    responses=schema.text_answer("Prometheus's text format.", "unauthenticated", "forbidden", "misdirected"),
)
async def metrics(service: Has, _: Admin) -> Response:
    """Return the counts since the process started, of all tenants. With API keys, it needs one of the role `admin`."""
    await service.occupancy.refresh()
    return Response(service.metrics.text(), media_type=MEDIA_TYPE)
