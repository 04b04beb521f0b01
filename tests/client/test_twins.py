"""The sync and the async client: the same verbs, defaults, docstrings and code up to `await`; the examples run."""

import ast
import inspect
import re
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import optim_client
import pytest
from optim_client import (
    AsyncClient,
    AsyncEvents,
    AsyncSession,
    AsyncSessions,
    AsyncWorker,
    Client,
    Events,
    NoQuorum,
    Session,
    Sessions,
    Worker,
    _async_client,
    _async_events,
    _async_session,
    _async_sessions,
    _async_storage,
    _async_workers,
    _client,
    _events,
    _session,
    _sessions,
    _storage,
    _workers,
)

TWINS: list[tuple[Any, Any]] = [
    (Client, AsyncClient), (Sessions, AsyncSessions), (Session, AsyncSession), (Worker, AsyncWorker),
    (Events, AsyncEvents),
]  # fmt: skip
SYNC = [sync for sync, _ in TWINS]
VERBS = [
    (kind, name)
    for pair in TWINS
    for kind in pair
    for name, member in inspect.getmembers(kind, inspect.isfunction)
    if not name.startswith("_")
]
DIFFERENT = {"SessionList.find", "Events._follow", "SessionStorage.save_state"}
"""Functions that differ in more than `await`: two have no `yield from`, the other syncs its file in a thread."""


def public(kind: Any) -> dict[str, Any]:
    """Return the public members of a class by name, and its constructor."""
    names = [name for name, _ in inspect.getmembers(kind) if not name.startswith("_")]
    return {name: inspect.getattr_static(kind, name) for name in [*names, "__init__"]}


def as_sync(text: str) -> str:
    """Return the text of an async twin as its sync twin has it."""
    text = re.sub(r"_async\b|_async(?=_)|\bAsync(?=[A-Z])|\b(async|await) ", "", text)
    text = re.sub(r"asyncio\.to_thread\((.+?), (.+?)\)", r"\1(\2)", text).replace("asyncio.sleep", "time.sleep")
    text = (
        re.sub(r"__a(enter|exit|iter|next)__", r"__\1__", text).replace("anext(", "next(").replace("aclose(", "close(")
    )
    text = re.sub(r"\(((?:session|team)\.\w+\(1?\))\)\.", r"\1.", text)
    return re.sub(r"\b(many|one|a) task", r"\1 thread", text)


def signature(member: Any) -> str:
    """Return the parameters with their types and defaults, and the type of the result."""
    function = member.fget if isinstance(member, property) else member
    return as_sync(str(inspect.signature(function)))


def functions(module: Any) -> dict[str, str]:
    """Return the code of every function of a module by its name, as the sync twin has it, private ones included."""
    tree = ast.parse(as_sync(inspect.getsource(module)))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    return {
        f"{kind.name}.{name}": "\n".join(ast.unparse(node) for node in kind.body if getattr(node, "name", "") == name)
        for kind in classes
        for name in [node.name for node in kind.body if isinstance(node, ast.FunctionDef)]
    }


def section(member: Any, title: str) -> list[str]:
    """Return the names in a section of a docstring."""
    words = (inspect.getdoc(member) or "").partition(f"\n{title}:\n")[2].partition("\n\n")[0]
    return re.findall(r"^    (\w+): ", words, re.MULTILINE)


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


@pytest.mark.parametrize(
    ("sync", "other"),
    [
        (_client, _async_client),
        (_events, _async_events),
        (_session, _async_session),
        (_sessions, _async_sessions),
        (_storage, _async_storage),
        (_workers, _async_workers),
    ],
)
def test_both_clients_have_the_same_code_up_to_await(sync: Any, other: Any) -> None:
    ours, theirs = functions(sync), functions(other)
    assert list(ours) == list(theirs)
    assert {name for name in ours if ours[name] != theirs[name]} == DIFFERENT & ours.keys()


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_clients_docstring_has_the_constructors_arguments(kind: Any) -> None:
    assert section(kind, "Args") == list(inspect.signature(kind).parameters)


@pytest.mark.parametrize(("kind", "name"), VERBS)
def test_a_docstring_has_arguments_result_errors_and_example(kind: Any, name: str) -> None:
    member = getattr(kind, name)
    words = inspect.getdoc(member) or ""
    parameters = {name: each for name, each in inspect.signature(member).parameters.items() if name != "self"}
    assert re.match(r"[A-Z]\w+[ ,]", words)
    assert section(member, "Args") == list(parameters)
    assert ("\nReturns:\n" in words) == (inspect.signature(member).return_annotation is not None)
    errors = section(member, "Raises")
    assert errors or name in ("close", "leave")
    assert set(errors) <= {*optim_client.__all__, "OSError", "TypeError", "ValueError"}
    assert example(member)


@pytest.fixture
def values(tmp_path: Path) -> dict[str, Any]:
    """Return the names that examples use, besides `client`, `session` and `held`."""
    params = {"w": np.float32([1, 2]), "b": np.float32([0])}
    return {
        "params": params,
        "grads": params,
        "path": tmp_path / "state",
        "Client": Client,
        "AsyncClient": AsyncClient,
        "NoQuorum": NoQuorum,
    }


@pytest.mark.parametrize(("kind", "name"), [verb for verb in VERBS if verb[0] in SYNC])
def test_an_example_runs(kind: Any, name: str, values: dict[str, Any]) -> None:
    with Client("memory:") as client:
        session = client.sessions.create("adamw", undo=1)
        held = client.sessions.create("adamw", hold_params=True)
        session.step(values["params"], values["grads"])
        team = client.sessions.create("adamw", hold_params=True, workers={})
        for each in (held, team):
            each.put_params(values["params"])
        with team.worker("w") as worker:
            worker.contribute(values["grads"])
            names = values | {"client": client, "session": session, "held": held, "team": team, "worker": worker}
            exec(example(getattr(kind, name)), names)


@pytest.mark.parametrize(("kind", "name"), [verb for verb in VERBS if verb[0] not in SYNC])
async def test_an_async_example_runs(kind: Any, name: str, values: dict[str, Any]) -> None:
    async with AsyncClient("memory:") as client:
        session = await client.sessions.create("adamw", undo=1)
        held = await client.sessions.create("adamw", hold_params=True)
        await session.step(values["params"], values["grads"])
        team = await client.sessions.create("adamw", hold_params=True, workers={})
        for each in (held, team):
            await each.put_params(values["params"])
        async with team.worker("w") as worker:
            await worker.contribute(values["grads"])
            names = values | {"client": client, "session": session, "held": held, "team": team, "worker": worker}
            function = f"async def run({', '.join(names)}):\n{textwrap.indent(example(getattr(kind, name)), '    ')}"
            exec(function, scope := dict[str, Any]())
            await scope["run"](**names)


@pytest.mark.parametrize("kind", [Client, AsyncClient])
async def test_the_example_of_a_client_runs(kind: Any, values: dict[str, Any]) -> None:
    exec(f"async def run():\n{textwrap.indent(example(kind), '    ')}", values)
    await values["run"]()
