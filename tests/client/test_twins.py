"""The sync and the async client: the same verbs, defaults and docstrings, whose examples run."""

import inspect
import re
import textwrap
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import optim_client
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
    settings,
)
from optim_client._address import FORMS

from optim_engine import OPTIMIZERS
from tests import contract

README = Path(__file__).parents[2] / "clients" / "python" / "README.md"
TWINS: list[tuple[Any, Any]] = [(Client, AsyncClient), (Sessions, AsyncSessions), (Session, AsyncSession)]
VERBS = [
    (kind, name)
    for pair in TWINS
    for kind in pair
    for name, member in inspect.getmembers(kind, inspect.isfunction)
    if not name.startswith("_")
]


def public(kind: Any) -> dict[str, Any]:
    """Return the public members of a class by name, and its constructor."""
    names = [name for name, _ in inspect.getmembers(kind) if not name.startswith("_")]
    return {name: inspect.getattr_static(kind, name) for name in [*names, "__init__"]}


def as_sync(text: str) -> str:
    """Return the text of an async twin as its sync twin has it."""
    text = re.sub(r"_async\b|_async(?=_)|Async(?=Base|Client|Iterator|Session)|\b(async|await) ", "", text)
    return text.replace("(session.get()).tensors", "session.get().tensors").replace("many tasks", "many threads")


def signature(member: Any) -> str:
    """Return the parameters with their types and defaults, and the type of the result."""
    function = member.fget if isinstance(member, property) else member
    return as_sync(str(inspect.signature(function)))


def example(member: Any) -> str:
    """Return the example of a docstring."""
    _, mark, lines = (inspect.getdoc(member) or "").partition("\nExample:\n")
    assert mark, member
    return textwrap.dedent(lines)


@pytest.mark.parametrize(("sync", "other"), TWINS)
def test_both_clients_have_the_same_verbs(sync: Any, other: Any) -> None:
    ours, theirs = public(sync), public(other)
    assert list(ours) == list(theirs)
    assert {name: type(member) for name, member in ours.items()} == {
        name: type(member) for name, member in theirs.items()
    }


@pytest.mark.parametrize(("sync", "other"), TWINS)
def test_both_clients_have_the_same_signatures_and_defaults(sync: Any, other: Any) -> None:
    for name, member in public(sync).items():
        assert signature(member) == signature(public(other)[name]), name


@pytest.mark.parametrize(("sync", "other"), TWINS)
def test_both_clients_have_the_same_docstrings(sync: Any, other: Any) -> None:
    assert inspect.getdoc(sync) == as_sync(inspect.getdoc(other) or "")
    for name, member in public(sync).items():
        assert inspect.getdoc(member) == as_sync(inspect.getdoc(public(other)[name]) or ""), name


@pytest.mark.parametrize(("kind", "name"), VERBS)
def test_a_docstring_has_arguments_result_errors_and_example(kind: Any, name: str) -> None:
    member = getattr(kind, name)
    words = inspect.getdoc(member) or ""
    parameters = {name: each for name, each in inspect.signature(member).parameters.items() if name != "self"}
    assert re.match(r"[A-Z]\w+[ ,]", words)
    arguments = words.partition("\nArgs:\n")[2].partition("\n\n")[0]
    assert re.findall(r"^    (\w+): ", arguments, re.MULTILINE) == list(parameters)
    assert ("\nReturns:\n" in words) == (inspect.signature(member).return_annotation is not None)
    errors = re.findall(r"^    (\w+): ", words.partition("\nRaises:\n")[2].partition("\n\n")[0], re.MULTILINE)
    assert set(errors) <= {*optim_client.__all__, "OSError", "ValueError"}
    assert example(member)


@pytest.fixture
def values(tmp_path: Path) -> dict[str, Any]:
    """Return the names that examples use, besides `client`, `session` and `held`."""
    params = {"w": np.float32([1, 2]), "b": np.float32([0])}
    return {"params": params, "grads": params, "path": tmp_path / "state", "Client": Client, "AsyncClient": AsyncClient}


@pytest.mark.parametrize(("kind", "name"), [verb for verb in VERBS if verb[0] in (Client, Sessions, Session)])
def test_an_example_runs(kind: Any, name: str, values: dict[str, Any]) -> None:
    with Client("memory:") as client:
        session = client.sessions.create("adamw")
        held = client.sessions.create("adamw", hold_params=True)
        session.step(values["params"], values["grads"])
        held.put_params(values["params"])
        exec(example(getattr(kind, name)), values | {"client": client, "session": session, "held": held})


@pytest.mark.parametrize(("kind", "name"), [verb for verb in VERBS if verb[0] not in (Client, Sessions, Session)])
async def test_an_async_example_runs(kind: Any, name: str, values: dict[str, Any]) -> None:
    async with AsyncClient("memory:") as client:
        session = await client.sessions.create("adamw")
        held = await client.sessions.create("adamw", hold_params=True)
        await session.step(values["params"], values["grads"])
        await held.put_params(values["params"])
        names = values | {"client": client, "session": session, "held": held}
        function = f"async def run({', '.join(names)}):\n{textwrap.indent(example(getattr(kind, name)), '    ')}"
        exec(function, scope := dict[str, Any]())
        await scope["run"](**names)


@pytest.mark.parametrize("kind", [Client, AsyncClient])
async def test_the_example_of_a_client_runs(kind: Any, values: dict[str, Any]) -> None:
    exec(f"async def run():\n{textwrap.indent(example(kind), '    ')}", values)
    await values["run"]()


def test_every_address_has_a_transport_of_each_kind() -> None:
    assert _transports.TRANSPORTS.keys() == _async_transports.TRANSPORTS.keys() == FORMS.keys()


def test_every_optimizer_has_a_type() -> None:
    assert sorted(get_args(settings.Optimizer)) == sorted(OPTIMIZERS)


@pytest.mark.parametrize("schedule", get_args(settings.Schedule), ids=lambda schedule: schedule.__name__)
def test_a_schedules_type_has_the_contracts_settings(schedule: Any) -> None:
    types = get_type_hints(schedule)
    [kind] = get_args(types.pop("kind"))
    expected = contract.SCHEDULES[kind]
    assert schedule.__required_keys__ == {"kind", *expected["required"]}
    assert types == {
        name: {"integer": int, "number": float}[schema["type"]] for name, schema in expected["settings"].items()
    }


def test_every_schedule_has_a_type() -> None:
    kinds = [get_args(get_type_hints(schedule)["kind"])[0] for schedule in get_args(settings.Schedule)]
    assert sorted(kinds) == sorted(contract.SCHEDULES)


def test_the_page_says_the_defaults() -> None:
    client = Client("http://127.0.0.1:1")
    said = " ".join(README.read_text(encoding="utf-8").split())
    assert f"waits {client.timeout.connect:g} s for a connection and {client.timeout.read:g} s for progress" in said
    assert f"is tried again for {client.retry_seconds:g} s since its first failure" in said
    assert client.max_retries is None
