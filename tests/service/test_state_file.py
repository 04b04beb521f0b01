"""State files that are refused: damaged, false, incomplete, or of another session."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from httpx2 import Client

from tests.service.calls import binary_step, create, problem
from tests.service.state_files import download, rewritten, session_of, some_params, train, upload
from tests.wire import package


@pytest.mark.parametrize("every", range(7))
def test_one_byte_that_is_not_as_it_was_is_noticed(client: Client, trained: str, every: int) -> None:
    file = download(client, trained)
    start = 8 + int.from_bytes(file[:8], "little")
    at = start + every * (len(file) - start - 1) // 6
    edited = file[:at] + bytes([file[at] ^ 1]) + file[at + 1 :]
    refused = problem(upload(client, create(client), edited), 422, "invalid_state")
    assert refused["expected"] == session_of(file)["digest"] != refused["got"]


def _set(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        for parent in parents:
            document = document[parent]
        document[last] = value

    return change


def _drop(path: str) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        for parent in parents:
            document = document[parent]
        del document[last]

    return change


WRONG: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "a digest of something else": (_set("digest", "0" * 32), "its digest"),
    "a digest that is none": (_set("digest", "x" * 5000), "`digest` must be 32 hexadecimal digits, not 'xxx"),
    "another step": (_set("step", 4), "its digest"),
    "another count": (_set("tensors.w.step", 3), "its digest"),
    "another lr": (_set("hyperparameters.lr", 0.5), "its digest"),
    "another group": (_set("groups", []), "its digest"),
    "no format": (_drop("format"), "`format` is missing; write 1"),
    "a format that is no number": (_set("format", "1"), "`format` must be a whole number, not '1'; write 1"),
    "a step that is no number": (_set("step", True), "`step` must be a whole number, not true"),
    "a negative step": (_set("step", -1), "`step` must be from 0 to 9007199254740992, not -1"),
    "a step beyond all counting": (
        _set("step", 2**62),
        "`step` must be from 0 to 9007199254740992, not a whole number of 63",
    ),
    "negative skips": (_set("skipped_steps", -1), "`skipped_steps` must be from 0 to 9007199254740992, not -1"),
    "no digest": (_drop("digest"), "names no digest"),
    "no tensors": (_drop("tensors"), "`tensors` is missing; write shape, dtype and step of each tensor"),
    "tensors that are a list": (_set("tensors", []), "`tensors` must be an object, not a list"),
    "a tensor without its dtype": (_drop("tensors.w.dtype"), "tensor 'w' in the file's list needs dtype"),
    "a tensor of no dtype": (
        _set("tensors.w.dtype", "int8"),
        "has the unknown dtype 'int8'; expected one of float64, ",
    ),
    "a tensor without its count": (_drop("tensors.w.step"), "tensor 'w' in the file's list needs step"),
    "a tensor that is no object": (_set("tensors.w", 3), "must be an object with shape, dtype and step, not 3"),
    "a count that is no number": (_set("tensors.w.step", "3"), "its step must be a whole number from 0 to "),
    "a tensor that is not listed": (_drop("tensors.w"), "m/w"),
    "a tensor of another shape": (_set("tensors.w.shape", [2, 3]), "m/w"),
    "a tensor of another dtype": (_set("tensors.w.dtype", "float64"), "m/w"),
    "settings that are not valid": (_set("hyperparameters.lr", -1), "hyperparameters.lr"),
    "settings of no optimizer": (_set("optimizer", "adamx"), "adamx"),
    "groups that are none": (_set("groups", "all"), "groups"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_file_that_says_what_is_not_so_is_refused(client: Client, trained: str, wrong: str) -> None:
    change, words = WRONG[wrong]
    other = create(client)
    before = client.get(other).content
    refused = problem(upload(client, other, rewritten(download(client, trained), change)), 422, "invalid_state")
    assert words in refused["detail"]
    assert client.get(other).content == before


@pytest.mark.parametrize("shape", [["a"], [[1]], [-1], [True], [10**18, 0], "3", None])
def test_a_malformed_shape_without_an_array_is_refused(client: Client, shape: Any) -> None:
    session = create(client, "sgd")
    train(client, session, some_params(), range(1, 2), hold=False)
    file = rewritten(download(client, session), _set("tensors.w.shape", shape))
    problem(upload(client, create(client, "sgd"), file), 400, "malformed_body")


def test_an_array_that_is_missing_is_refused(client: Client, trained: str) -> None:
    file = download(client, trained)
    kept = {name: array for name, array in package.load(file).items() if name != "v/w"}
    short = package.save(kept, {"session": json.dumps(session_of(file))})
    refused = problem(upload(client, create(client), short), 422, "invalid_state")
    assert refused["tensor"] == "w"
    assert refused["detail"].endswith("the file's own settings need (m, v): add 'v/w'")


FITS_NOT: dict[str, tuple[tuple[str, dict[str, Any]], str]] = {
    "another optimizer": (("adam", {}), "adamw"),
    "other moments": (("adamw", {"hyperparameters": {"amsgrad": True}}), "(m, v, v_max): add 'v_max/brain'"),
    "held parameters": (("adamw", {"hold_params": True}), "hold_params is false in the file, true in the session"),
}


@pytest.mark.parametrize("session", FITS_NOT)
def test_a_state_that_does_not_fit_the_session_is_refused(client: Client, trained: str, session: str) -> None:
    (optimizer, settings), words = FITS_NOT[session]
    other = create(client, optimizer, **settings)
    before = client.get(other).content
    refused = problem(upload(client, other, download(client, trained)), 422, "invalid_state")
    assert words in refused["detail"]
    assert client.get(other).content == before


def test_a_file_of_lazy_rows_asks_for_a_lazy_group(client: Client) -> None:
    lazy = create(client, "adamw", hold_params=True, groups=[{"match": ["w"], "sparse": "lazy"}])
    binary_step(client, lazy, {"w": np.ones((2, 3), np.float32)}, {"w": np.ones((2, 3), np.float32)})
    file = download(client, lazy)
    refused = problem(upload(client, create(client, "adamw", hold_params=True), file), 422, "invalid_state")
    assert refused["detail"].endswith("its rows are lazy, so give the tensor a group whose `sparse` is `lazy`")


def test_a_tensor_missing_in_the_file_is_named(client: Client, trained: str) -> None:
    other = create(client)
    one = {"other": np.float32([1])}
    binary_step(client, other, one, one)
    refused = problem(upload(client, other, download(client, trained)), 422, "invalid_state")
    assert refused["tensor"] == "other"


@pytest.mark.parametrize("w", [np.ones((2, 3), np.float32), np.ones((3, 2)), np.ones(6, np.float32)])
def test_a_tensor_that_differs_is_named_with_both_specs(client: Client, trained: str, w: Any) -> None:
    other = create(client)
    binary_step(client, other, {"w": w}, {"w": w})
    refused = problem(upload(client, other, download(client, trained)), 422, "invalid_state")
    assert (refused["tensor"], refused["got"]) == ("w", "float32 [3, 2]")


def test_what_is_safetensors_and_no_state_is_refused(client: Client) -> None:
    file = package.save({}, {"about": "something else"})
    assert "state file" in problem(upload(client, create(client), file), 422, "invalid_state")["detail"]
