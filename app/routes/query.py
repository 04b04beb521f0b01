"""Query parameters: a route takes those that it declares, each once, and refuses every other one."""

import re
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, get_origin
from urllib.parse import parse_qsl

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from app.errors import MalformedQuery
from app.wrong_values import need

NUMBER = re.compile("-?[0-9]+", re.ASCII)
"""The form of a whole number. Pydantic would take other alphabets' digits, underscores and spaces as well."""


class StrictRoute(APIRoute):
    """A route that refuses a query that it does not know, before it does anything else.

    A parameter whose type is a list may stand more than once.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        fields = {field.alias: field.field_info for field in self.dependant.query_params}
        known = {name: field.annotation for name, field in fields.items()}

        async def checked(request: Request) -> Response:
            if query := request.scope["query_string"]:
                _check(query, known)
            try:
                return await handle(request)
            except RequestValidationError as error:
                first = error.errors()[0]
                name, value = first["loc"][1], first["input"]
                words = need(first, fields[name].description)
                raise MalformedQuery(f"query parameter {name} is {value!r:.80}: it {words}") from None

        return checked


def _check(query: bytes, known: Mapping[str, Any]) -> None:
    """Raise `MalformedQuery` unless each parameter is one of the known, with their types, and stands once."""
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        raise MalformedQuery("the query is not UTF-8, percent-encoded") from None
    seen = set[str]()
    for name, value in pairs:
        if name not in known:
            expected = f"expected one of {', '.join(known)}" if known else "this route takes none"
            raise MalformedQuery(f"unknown query parameter {name!r:.80}; {expected}")
        if name in seen and get_origin(known[name]) is not list:
            raise MalformedQuery(f"the query parameter {name!r} was sent twice: send it once")
        if known[name] in (int, int | None) and not NUMBER.fullmatch(value):
            raise MalformedQuery(f"query parameter {name} is {value!r:.80}: it must be a whole number")
        seen.add(name)
