"""The optimizers that a session may use."""

import orjson
from fastapi import APIRouter, Response

from app.routes import openapi as schema
from app.routes.query import StrictRoute
from app.service import Reader
from optim_engine.optimizers import OPTIMIZERS, described

router = APIRouter(tags=["optimizers"], route_class=StrictRoute)


@router.get(
    "/v1/optimizers",
    operation_id="listOptimizers",
    summary="List the optimizers",
    responses=schema.answers(200, "Optimizers"),
)
async def list_optimizers(_: Reader) -> Response:
    """Return each optimizer's hyperparameters with their defaults and bounds, and the slots that it keeps for a matrix
    under its defaults."""
    found = {name: described(name) for name in OPTIMIZERS}
    return Response(orjson.dumps({"optimizers": found}), media_type="application/json")
