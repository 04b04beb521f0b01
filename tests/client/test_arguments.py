"""Arguments that the client refuses by name, before anything is sent."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from optim_client import _arguments

from tests.client.conftest import Connect
from tests.client.documents import W
from tests.client.scripted import SESSION_ANSWER, ScriptedServer

Verb = Callable[[Any, Any], Any]

REFUSED: Mapping[str, tuple[Verb, str]] = {
    "create nan": (lambda client, _: client.sessions.create("sgd", lr=np.nan), "lr must be a finite number, not nan"),
    "create optimizer": (
        lambda client, _: client.sessions.create({"sgd"}),
        "optimizer must be a number, a string, a boolean, a list or a dict, not {'sgd'}",
    ),
    "create hyperparameters": (
        lambda client, _: client.sessions.create("sgd", hyperparameters={"lr": 0.1}),
        "unknown setting 'hyperparameters': pass lr=… directly",
    ),
    "update by id": (
        lambda client, _: client.sessions.update("s-1", optimizer="sgd"),
        "optimizer cannot be changed: create a new session",
    ),
    "update": (
        lambda _, session: session.update(optimizer="sgd"),
        "optimizer cannot be changed: create a new session",
    ),
    "update hyperparameters": (
        lambda _, session: session.update(hyperparameters={"lr": 0.1}),
        "unknown setting 'hyperparameters': pass lr=… directly",
    ),
    "update array": (
        lambda _, session: session.update(betas=np.array([1.0])),
        "betas must be a number, a string, a boolean, a list or a dict, not array([1.]): convert it with .tolist()",
    ),
    "update inside": (
        lambda _, session: session.update(groups=[{"match": ["*"], "lr": np.float32("inf")}]),
        "groups[0].lr must be a finite number, not inf",
    ),
    "step lr": (lambda _, session: session.step(W, W, lr="a"), "lr must be a number, not 'a'"),
    "step loss": (lambda _, session: session.step(W, W, loss="a"), "loss must be a number, not 'a'"),
    "find": (
        lambda client, _: list(client.sessions.find(labels=["a"])),
        "labels must be a dict, such as {'run': 'mnist-3'}, not ['a']",
    ),
    "list": (
        lambda client, _: client.sessions.list(labels="a"),
        "labels must be a dict, such as {'run': 'mnist-3'}, not 'a'",
    ),
    "rename": (
        lambda _, session: session.edit_tensors(rename=["a"]),
        "rename must be a dict, such as {'old': 'new'}, not ['a']",
    ),
    "remove": (
        lambda _, session: session.edit_tensors(remove="w"),
        "remove must be a list of names, such as ['w'], not 'w'",
    ),
    "rows": (
        lambda _, session: session.rows({"w": [0.5]}),
        "rows['w'] must be a list of whole numbers, such as [3, 17], not [0.5]",
    ),
    "reset": (
        lambda _, session: session.edit_tensors(reset=5),
        "reset must be a list of names, such as ['w'], not 5",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_wrong_argument_is_named_and_not_sent(connect: Connect, case: str) -> None:
    use, message = REFUSED[case]
    with ScriptedServer(SESSION_ANSWER) as server:
        client = connect(server.url, max_retries=0)
        session = client.sessions.get("s-1")
        with pytest.raises((TypeError, ValueError)) as raised:
            use(client, session)
    assert str(raised.value) == message
    assert len(server.seen) == 1


@pytest.mark.parametrize("value", ["a", None, [1], np.array([1.0, 2.0]), 1j, 10**400])
def test_a_value_that_is_no_number_is_named(value: Any) -> None:
    with pytest.raises(TypeError, match=r"^loss must be a number, not "):
        _arguments.number("loss", value)


def test_a_tensor_of_several_numbers_is_no_number() -> None:
    class Tensor:
        def __float__(self) -> float:
            raise RuntimeError("a Tensor with 2 elements cannot be converted to Scalar")

    with pytest.raises(TypeError, match=r"^loss must be a number, not "):
        _arguments.number("loss", Tensor())


def test_names_may_be_any_collection() -> None:
    assert _arguments.names("remove", {"w": 1}.keys()) == _arguments.names("remove", ("w",)) == ["w"]


def test_settings_are_converted_to_what_json_has() -> None:
    clip = MappingProxyType({"global_norm": np.float32(0.5), "deep": (np.int64(1), None, [np.True_, "a"])})
    assert _arguments.as_json("clip", clip) == {"global_norm": 0.5, "deep": [1, None, [True, "a"]]}


@pytest.mark.parametrize("value", [b"a", {1}, object(), np.longdouble(1), np.datetime64(0, "D"), 1j])
def test_a_type_that_json_lacks_is_named(value: Any) -> None:
    with pytest.raises(
        TypeError, match=r"^clip.deep\[1\] must be a number, a string, a boolean, a list or a dict, not "
    ):
        _arguments.as_json("clip", {"deep": [0, value]})


def test_tolist_is_recommended_only_where_it_helps() -> None:
    with pytest.raises(TypeError, match=r"\.tolist\(\)$"):
        _arguments.as_json("lr", np.array(0.5))
    with pytest.raises(TypeError, match=r"longdouble\('0\.5'\)$"):
        _arguments.as_json("lr", np.longdouble(0.5))
