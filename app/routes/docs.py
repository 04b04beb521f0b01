"""The OpenAPI schema, and the page that lists every route, made of it."""

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, JSONResponse

from app.routes.docs_page import render
from app.routes.html import policy
from app.routes.query import StrictRoute

router = APIRouter(include_in_schema=False, route_class=StrictRoute)


@router.get("/openapi.json")
def openapi(request: Request) -> JSONResponse:
    """Return the schema; not a coroutine, so that a thread makes it and no step waits."""
    return JSONResponse(request.app.openapi())


@router.get("/docs")
def docs(request: Request) -> HTMLResponse:
    """Return the page; not a coroutine, so that a thread makes it and no step waits."""
    return HTMLResponse(render(request.app.openapi()), headers={"Content-Security-Policy": policy()})
