"""The options that commands share, and the client that they use."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from optim_client import Client

NO_HELP = {"default_map": {"help": False}}
"""The value of a `--help` that is not given. Typer has none, so it imports Pydantic to convert it."""

PLAIN: dict[str, Any] = {"rich_markup_mode": None, "no_args_is_help": True, "context_settings": NO_HELP}
WHERE = "Where no --url is given: OPTIM_BASE_URL, else http://127.0.0.1:8000. The API key is OPTIM_API_KEY."

Url = Annotated[str | None, typer.Option(metavar="URL", help="Where the service is.")]
SessionId = Annotated[str, typer.Argument(metavar="ID", help="The session.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def client(url: str | None) -> "Client":
    """Return a client that tries three times, because a person waits."""
    from optim_client import Client

    return Client(url, max_retries=2)
