"""The two clients have the same verbs, and the page says their defaults."""

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from optim_client import (
    AsyncClient,
    AsyncSession,
    AsyncSessions,
    Client,
    Session,
    Sessions,
    _async_transports,
    _transports,
)
from optim_client._address import FORMS

README = Path(__file__).parents[2] / "clients" / "python" / "README.md"
TWINS: list[tuple[Any, Any]] = [(Client, AsyncClient), (Sessions, AsyncSessions), (Session, AsyncSession)]


def verbs(kind: Any) -> dict[str, str]:
    """Public names with their parameters; types of the async twin are named as the sync one's."""
    public = {name: member for name, member in inspect.getmembers(kind) if not name.startswith("_")}
    public["__init__"] = kind.__init__
    return {
        name: re.sub(r"_async|Async(?=Base|Client|Session)", "", str(inspect.signature(member)))
        if callable(member)
        else "property"
        for name, member in public.items()
    }


@pytest.mark.parametrize(("sync", "other"), TWINS)
def test_both_clients_have_the_same_verbs(sync: Any, other: Any) -> None:
    ours = {name: re.sub(r" -> .*", "", text) for name, text in verbs(sync).items()}
    assert ours == {name: re.sub(r" -> .*", "", text) for name, text in verbs(other).items()}


@pytest.mark.parametrize(("sync", "other"), TWINS)
def test_both_clients_say_the_same_of_each_verb(sync: Any, other: Any) -> None:
    for name in verbs(sync):
        member = inspect.getattr_static(sync, name)
        assert inspect.getdoc(member) == inspect.getdoc(inspect.getattr_static(other, name)), name


def test_the_page_says_the_defaults() -> None:
    client = Client("http://127.0.0.1:1")
    said = " ".join(README.read_text(encoding="utf-8").split())
    assert f"waits {client.timeout.connect:g} s for a connection and {client.timeout.read:g} s for progress" in said
    assert f"is tried again for {client.retry_seconds:g} s since its first failure" in said
    assert client.max_retries is None


def test_every_address_has_a_transport_of_each_kind() -> None:
    assert _transports.TRANSPORTS.keys() == _async_transports.TRANSPORTS.keys() == FORMS.keys()
