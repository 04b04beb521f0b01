"""The options that commands share, and the client and the session that they name."""

import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.commands.exits import NotThere

if TYPE_CHECKING:
    from optim_client import Client, Session

    from app.settings import Settings

NOT_GIVEN = {"default_map": dict.fromkeys(("help", "install_completion", "show_completion"), False)}
"""The values of Typer's own flags that are not given. Typer has none, so it imports Pydantic to convert them."""

PLAIN: dict[str, Any] = {"rich_markup_mode": None, "no_args_is_help": True, "context_settings": NOT_GIVEN}
WHERE = "Where no --url is given: OPTIM_BASE_URL, else http://127.0.0.1:8000. The API key is OPTIM_API_KEY."

ID_DIGITS = 32
LAST_ID = 16**ID_DIGITS - 1
MOST_NAMED = 3
"""The most sessions that a refusal names."""
MOST_OFFERED = 20
"""The most sessions that a shell offers to complete."""


Url = Annotated[str | None, typer.Option(metavar="URL", help="Where the service is.")]


def completed(context: typer.Context, incomplete: str) -> list[str]:
    """Return the ids that a shell offers; none where the service does not answer at once."""
    from optim_client import Client
    from optim_client.errors import OptimError

    with suppress(OptimError, ValueError), Client(context.params.get("url"), timeout=1.0, max_retries=0) as service:
        return list(islice(_ids_from(service, incomplete), MOST_OFFERED))
    return []


SessionId = Annotated[
    str,
    typer.Argument(metavar="ID", help="The session: its id, or the first digits of it.", autocompletion=completed),
]
SessionIds = Annotated[list[str], typer.Argument(metavar="ID", help="The sessions.", autocompletion=completed)]
StoreUrl = Annotated[
    str | None, typer.Option("--store", metavar="URL", help="The store. Where it is not given: OPTIM_STORE.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def settings_for(store_url: str | None) -> "Settings":
    """Return the settings of the environment, with another store where one is named."""
    from app.flags import settings_of

    return settings_of() if store_url is None else settings_of(store=store_url)


def client(url: str | None) -> "Client":
    """Return a client that tries three times, because a person waits."""
    from optim_client import Client

    return Client(url, max_retries=2)


def pairs(given: list[str], example: str, hint: str) -> Iterator[tuple[str, str]]:
    """Yield the names and the values that are given as NAME=VALUE. Raises `BadParameter`."""
    for text in given:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise typer.BadParameter(f"must be NAME=VALUE, such as {example}, not {text!r:.80}", param_hint=hint)
        yield name, value


def given_twice(name: str, hint: str) -> typer.BadParameter:
    """Return the refusal of a name that is given twice."""
    return typer.BadParameter(f"{name} is given twice: leave one of them out", param_hint=hint)


def session_of(service: "Client", text: str) -> "Session":
    """Return the session that an id, or the first digits of one, names. Raises as `id_of`."""
    return service.sessions.get(id_of(service, text))


def id_of(service: "Client", text: str) -> str:
    """Return the id that begins with these digits. Raises `NotThere`, and `ValueError` where several begin so."""
    if not re.fullmatch(f"[0-9a-f]{{1,{ID_DIGITS - 1}}}", text):
        return text
    found = list(islice(_ids_from(service, text), MOST_NAMED + 1))
    if not found:
        raise NotThere(f"no session's id begins with {text!r}: `optim sessions list` shows them")
    if len(found) > 1:
        named = ", ".join(found[:MOST_NAMED]) + (", …" if len(found) > MOST_NAMED else "")
        raise ValueError(f"more than one session's id begins with {text!r}: {named}; give more digits")
    return found[0]


def _ids_from(service: "Client", start: str) -> Iterator[str]:
    """Yield the ids that begin with these digits. A page may end early, so the next one is asked for too."""
    beyond = (int(start or "0", 16) + 1) << 4 * (ID_DIGITS - len(start))
    cursor: str | None = f"{min(beyond, LAST_ID):0{ID_DIGITS}x}"
    while cursor is not None:
        page = service.sessions.list(limit=MOST_NAMED + 1, cursor=cursor)  # ids below the cursor, the highest first
        for each in [*(session.id for session in page.sessions), *page.unreadable]:
            if each.startswith(start):
                yield each
        cursor = page.next_cursor
        if cursor is not None and not cursor.startswith(start):
            return
