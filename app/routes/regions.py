"""Regions of memory that the service shares with the Python client: the way to ask for one. No part of the schema."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from app.errors import RouteNotFound, ServiceError
from app.routes.query import StrictRoute
from app.service import Has, Writer
from app.web.regions import REGIONS_EXTENSION, Regions

router = APIRouter(include_in_schema=False, route_class=StrictRoute)


@router.post("/v1/regions")
async def lease(
    http: Request,
    service: Has,
    _: Writer,
    nbytes: Annotated[int, Query(ge=1, le=1 << 48)],
    free: Annotated[list[int], Query(default_factory=list)],
) -> Response:
    """Give back the regions `free`, then make one of `nbytes` bytes: its descriptor comes with an interim answer."""
    regions: Regions | None = http.scope.get("extensions", {}).get(REGIONS_EXTENSION)
    has_interim_answers = http.scope["http_version"] != "1.0"
    if regions is None or not service.regions.limit or not has_interim_answers:
        raise RouteNotFound("regions are for connections through a Unix socket, on Linux, where the service offers any")
    try:
        number = regions.lease(service.regions, nbytes, free)
    except ServiceError:
        service.metrics.regions.count("refused")
        raise
    service.metrics.regions.count("leased")
    return Response(status_code=204, headers={"X-Optim-Region": str(number)})
