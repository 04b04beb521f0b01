"""State files: the whole state out, and into a session that it fits, name by name."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from httpx2 import Client

from app.store.memory import MemoryStore
from tests.service.calls import SAFETENSORS, binary_step, bits, create, problem, read_binary, serving
from tests.wire import package

BINARY = {"content-type": SAFETENSORS}
SETTINGS: list[tuple[str, dict[str, Any], set[str]]] = [
    ("adamw", {}, {"m", "v"}),
    ("adamw", {"hyperparameters": {"amsgrad": True}}, {"m", "v", "v_max"}),
    ("adam", {"hold_params": True}, {"m", "v", "params"}),
    ("sgd", {}, set()),
    ("sgd", {"hyperparameters": {"momentum": 0.9}, "hold_params": True}, {"m", "params"}),
    ("rmsprop", {}, {"v"}),
    ("rmsprop", {"hyperparameters": {"centered": True, "momentum": 0.9}}, {"m", "v", "b"}),
    ("nadam", {}, {"m", "v", "mu_product"}),
    ("adafactor", {"hold_params": True}, {"v", "v_row", "v_col", "params"}),
]


def some_params() -> dict[str, Any]:
    draw = np.random.default_rng(0).standard_normal
    return {
        "w": draw((3, 2), np.float32),
        "layer/bias": draw(3, np.float32),
        "double": draw(2),
        "brain": draw(3).astype(ml_dtypes.bfloat16),
        "none": np.zeros((0, 2), np.float16),
    }


def train(client: Client, session: str, params: Mapping[str, Any] | None, steps: range, hold: bool) -> dict[str, Any]:
    """The parameters after those steps; the first tensor is left out of every second one."""
    after: dict[str, Any] = dict(params or {})
    for number in steps:
        draw = np.random.default_rng(number).standard_normal
        names = [name for name in some_params() if number % 2 or name != "w"]
        grads = {name: np.asarray(draw(some_params()[name].shape)).astype(some_params()[name].dtype) for name in names}
        sent = None if hold and number > 1 else {name: after[name] for name in names}
        after |= read_binary(binary_step(client, session, grads, sent, step=number))[0]
    return after


def download(client: Client, session: str) -> bytes:
    answer = client.get(f"{session}/state")
    assert (answer.status_code, answer.headers["content-type"]) == (200, SAFETENSORS)
    return answer.content


def upload(client: Client, session: str, file: bytes) -> Any:
    return client.put(f"{session}/state", content=file, headers=BINARY)


def session_of(file: bytes) -> dict[str, Any]:
    header = json.loads(file[8 : 8 + int.from_bytes(file[:8], "little")])
    document: dict[str, Any] = json.loads(header["__metadata__"]["session"])
    return document


def rewritten(file: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    """The file with its session's document changed."""
    size = int.from_bytes(file[:8], "little")
    header, document = json.loads(file[8 : 8 + size]), session_of(file)
    change(document)
    text = json.dumps(header | {"__metadata__": {"session": json.dumps(document)}}).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + file[8 + size :]


@pytest.fixture
def trained(client: Client) -> str:
    """A session of three steps of adamw."""
    session = create(client)
    train(client, session, some_params(), range(1, 4), hold=False)
    return session


@pytest.mark.parametrize(("optimizer", "settings", "kinds"), SETTINGS)
def test_a_state_goes_on_in_a_new_session_bit_for_bit(
    client: Client, optimizer: str, settings: dict[str, Any], kinds: set[str]
) -> None:
    hold = settings.get("hold_params", False)
    first, second = create(client, optimizer, **settings), create(client, optimizer, **settings)
    params = train(client, first, some_params(), range(1, 5), hold)
    file = download(client, first)
    assert {name.partition("/")[0] for name in package.load(file)} == kinds
    assert upload(client, second, file).status_code == 204
    ours, theirs = client.get(first).json(), client.get(second).json()
    for part in ("step", "tensors", "digest", "skipped_steps", "hyperparameters", "groups"):
        assert theirs[part] == ours[part]
    assert bits(package.load(download(client, second))) == bits(package.load(file))
    after = [bits(train(client, session, params, range(5, 8), hold)) for session in (first, second)]
    assert after[0] == after[1]


def test_a_file_has_moments_by_name_in_their_own_dtype(client: Client, trained: str) -> None:
    found = {name: (array.dtype.name, array.shape) for name, array in package.load(download(client, trained)).items()}
    of_each = {
        "w": ("float32", (3, 2)), "layer/bias": ("float32", (3,)), "double": ("float64", (2,)),
        "brain": ("float32", (3,)), "none": ("float32", (0, 2)),
    }  # fmt: skip
    assert found == {f"{kind}/{name}": about for kind in "mv" for name, about in of_each.items()}


def test_a_file_has_the_session_with_each_tensor_s_count(client: Client, trained: str) -> None:
    document = session_of(download(client, trained))
    assert document.pop("format") == 1
    assert document == client.get(trained).json()
    assert document["tensors"]["w"]["step"] == 2
    assert document["step"] == document["tensors"]["double"]["step"] == 3


def test_a_file_has_a_name_to_be_saved_under(client: Client, trained: str) -> None:
    name = trained.rpartition("/")[2]
    disposition = client.get(f"{trained}/state").headers["content-disposition"]
    assert disposition == f'attachment; filename="{name}.safetensors"'


def test_two_downloads_are_the_same_bytes(client: Client, trained: str) -> None:
    assert download(client, trained) == download(client, trained)


def test_a_file_that_another_program_wrote_anew_is_taken_by_its_names(client: Client, trained: str) -> None:
    file = download(client, trained)
    again = package.save(package.load(file), {"session": json.dumps(session_of(file))})
    assert again != file
    other = create(client)
    assert upload(client, other, again).status_code == 204
    assert client.get(other).json()["digest"] == client.get(trained).json()["digest"]


def test_the_session_s_own_settings_stay(client: Client, trained: str) -> None:
    other = create(client, hyperparameters={"lr": 0.5}, labels={"run": "2"}, ttl_seconds=60, groups=[])
    assert upload(client, other, download(client, trained)).status_code == 204
    document = client.get(other).json()
    assert (document["hyperparameters"]["lr"], document["labels"], document["groups"]) == (0.5, {"run": "2"}, [])
    assert document["step"] == 3
    assert document["digest"] != client.get(trained).json()["digest"]


def test_groups_that_were_given_and_the_same_by_default_are_one_state(client: Client, trained: str) -> None:
    other = create(client, groups=[{"match": ["*bias"], "weight_decay": 0.0}])
    assert upload(client, other, download(client, trained)).status_code == 204
    assert client.get(other).json()["digest"] == client.get(trained).json()["digest"]
    default = create(client)
    assert upload(client, default, download(client, other)).status_code == 204
    assert client.get(default).json()["digest"] == client.get(trained).json()["digest"]


def test_a_session_goes_back_to_an_earlier_state_and_its_history_with_it(client: Client) -> None:
    session = create(client)
    params = train(client, session, some_params(), range(1, 4), hold=False)
    file = download(client, session)
    once = bits(train(client, session, params, range(4, 7), hold=False))
    assert upload(client, session, file).status_code == 204
    assert [row["step"] for row in client.get(f"{session}/history").json()["history"]] == [1, 2, 3]
    assert bits(train(client, session, params, range(4, 7), hold=False)) == once
    assert [row["step"] for row in client.get(f"{session}/history").json()["history"]] == [1, 2, 3, 4, 5, 6]


def test_a_session_without_a_step_has_a_state_too(client: Client) -> None:
    file = download(client, create(client))
    assert package.load(file) == {}
    other = create(client)
    assert upload(client, other, file).status_code == 204
    assert client.get(other).json()["step"] == 0


def test_a_state_of_several_pieces_comes_through_whole(client: Client) -> None:
    session, other = create(client), create(client)
    big = {"w": np.random.default_rng(0).standard_normal(700_000, np.float32)}
    after = read_binary(binary_step(client, session, big, big))[0]
    assert upload(client, other, download(client, session)).status_code == 204
    both = [bits(read_binary(binary_step(client, s, big, after))[0]) for s in (session, other)]
    assert both[0] == both[1]


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
    "a digest that is none": (_set("digest", "x" * 5000), "a digest that is none"),
    "another step": (_set("step", 4), "its digest"),
    "another count": (_set("tensors.w.step", 3), "its digest"),
    "another lr": (_set("hyperparameters.lr", 0.5), "its digest"),
    "another group": (_set("groups", []), "its digest"),
    "no format": (_drop("format"), "`format`"),
    "a format that is no number": (_set("format", "1"), "`format`"),
    "a step that is no number": (_set("step", True), "`step`"),
    "a negative step": (_set("step", -1), "count out of range"),
    "a step beyond all counting": (_set("step", 2**62), "count out of range"),
    "negative skips": (_set("skipped_steps", -1), "count out of range"),
    "no digest": (_drop("digest"), "names no digest"),
    "no tensors": (_drop("tensors"), "`tensors`"),
    "tensors that are a list": (_set("tensors", []), "`tensors`"),
    "a tensor without its dtype": (_drop("tensors.w.dtype"), "dtype"),
    "a tensor of no dtype": (_set("tensors.w.dtype", "int8"), "dtype"),
    "a tensor without its count": (_drop("tensors.w.step"), "step"),
    "a tensor that is no object": (_set("tensors.w", 3), "dtype"),
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
def test_a_shape_that_is_none_is_refused_where_no_array_speaks_against_it(client: Client, shape: Any) -> None:
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


FITS_NOT: dict[str, tuple[tuple[str, dict[str, Any]], str]] = {
    "another optimizer": (("adam", {}), "adamw"),
    "other moments": (("adamw", {"hyperparameters": {"amsgrad": True}}), "v_max"),
    "held parameters": (("adamw", {"hold_params": True}), "hold_params"),
}


@pytest.mark.parametrize("session", FITS_NOT)
def test_a_state_that_does_not_fit_the_session_is_refused(client: Client, trained: str, session: str) -> None:
    (optimizer, settings), words = FITS_NOT[session]
    other = create(client, optimizer, **settings)
    before = client.get(other).content
    refused = problem(upload(client, other, download(client, trained)), 422, "invalid_state")
    assert words in refused["detail"]
    assert client.get(other).content == before


def test_a_tensor_of_the_session_that_the_file_lacks_is_named(client: Client, trained: str) -> None:
    other = create(client)
    one = {"other": np.float32([1])}
    binary_step(client, other, one, one)
    refused = problem(upload(client, other, download(client, trained)), 422, "invalid_state")
    assert refused["tensor"] == "other"


@pytest.mark.parametrize("w", [np.ones((2, 3), np.float32), np.ones((3, 2)), np.ones(6, np.float32)])
def test_a_tensor_that_differs_in_the_session_is_named_with_both(client: Client, trained: str, w: Any) -> None:
    other = create(client)
    binary_step(client, other, {"w": w}, {"w": w})
    refused = problem(upload(client, other, download(client, trained)), 422, "invalid_state")
    assert (refused["tensor"], refused["got"]) == ("w", "float32 [3, 2]")


def test_what_is_safetensors_and_no_state_is_refused(client: Client) -> None:
    file = package.save({}, {"about": "something else"})
    assert "state file" in problem(upload(client, create(client), file), 422, "invalid_state")["detail"]


@pytest.mark.parametrize(
    ("file", "code"),
    [
        (b"", "malformed_body"),
        (b"\0" * 100, "malformed_body"),
        (package.save({}, {"session": "{"}), "malformed_body"),
        (package.save({}, {"session": "[]"}), "invalid_state"),
        (package.save({"w": np.ones(1)}), "malformed_body"),
        (package.save({"x/w": np.ones(1)}), "malformed_body"),
    ],
)
def test_what_is_no_state_at_all_is_refused(client: Client, file: bytes, code: str) -> None:
    problem(upload(client, create(client), file), 400 if code == "malformed_body" else 422, code)


def test_only_safetensors_goes_in_and_out(client: Client, trained: str) -> None:
    answer = client.put(f"{trained}/state", content=b"{}", headers={"content-type": "application/json"})
    problem(answer, 415, "unsupported_media_type")
    problem(client.get(f"{trained}/state", headers={"accept": "application/json"}), 406, "not_acceptable")
    for accept in (SAFETENSORS, "application/octet-stream", "*/*"):
        assert client.get(f"{trained}/state", headers={"accept": accept}).status_code == 200


class DamagedStore(MemoryStore):
    """Whose pieces somebody has written over."""

    def damage(self) -> None:
        for pieces in self._pieces.values():
            for name, data in pieces.items():
                pieces[name] = bytes([data[0] ^ 1]) + data[1:]


def test_a_damaged_state_is_refused_until_a_saved_one_is_put_over_it() -> None:
    store = DamagedStore(10)
    with serving(store) as client:
        session = create(client)
        params = train(client, session, some_params(), range(1, 4), hold=False)
        file = download(client, session)
        once = bits(train(client, session, params, range(4, 6), hold=False))
        assert upload(client, session, file).status_code == 204
    store.damage()
    with serving(store, state_cache_bytes=0) as client:
        for answer in (client.get(f"{session}/state"), binary_step(client, session, params, params)):
            assert "upload a saved state" in problem(answer, 500, "state_damaged")["detail"]
            assert answer.headers["x-should-retry"] == "false"
        assert upload(client, session, file).status_code == 204
        assert bits(train(client, session, params, range(4, 6), hold=False)) == once


def test_a_damaged_session_can_be_deleted() -> None:
    store = DamagedStore(10)
    with serving(store) as client:
        session = create(client)
        train(client, session, some_params(), range(1, 2), hold=False)
        name = session.rpartition("/")[2]
        store._heads[name] = store._heads[name][:-1]
        problem(client.get(session), 500, "state_damaged")
        assert client.delete(session).status_code == 204
        problem(client.get(session), 404, "session_not_found")


def test_a_state_outlives_the_service(tmp_path: Path) -> None:
    url = f"lmdb:{tmp_path}"
    with serving(store=url) as client:
        session = create(client)
        params = train(client, session, some_params(), range(1, 4), hold=False)
        file = download(client, session)
    with serving(store=url) as client:
        assert download(client, session) == file
        after = bits(train(client, session, params, range(4, 6), hold=False))
    with serving() as client:
        other = create(client)
        upload(client, other, file)
        assert bits(train(client, other, params, range(4, 6), hold=False)) == after
