"""The page that lists every route, made of the OpenAPI schema."""

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from app.routes.docs_page import render

router = APIRouter(include_in_schema=False)

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; frame-ancestors 'none'"
"""A browser that is told so loads nothing else and runs nothing."""


@router.get("/docs")
def docs(request: Request) -> HTMLResponse:
    """The page; not a coroutine, so that a thread makes it and no step waits."""
    return HTMLResponse(render(request.app.openapi()), headers={"Content-Security-Policy": POLICY})
