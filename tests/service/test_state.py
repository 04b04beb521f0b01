"""State files: the whole state out, and into a session that it fits, name by name."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from httpx2 import Client

from tests.service.calls import binary_step, bits, create, read_binary, serving
from tests.service.state_files import SETTINGS, download, session_of, some_params, train, upload
from tests.wire import package


@pytest.mark.parametrize(("optimizer", "settings", "kinds"), SETTINGS)
def test_a_state_continues_in_a_new_session_bit_for_bit(
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
    assert {**document, "workers": None} == client.get(trained).json()
    assert document["tensors"]["w"]["step"] == 2
    assert document["step"] == document["tensors"]["double"]["step"] == 3


def test_a_file_has_a_name_to_be_saved_under(client: Client, trained: str) -> None:
    name = trained.rpartition("/")[2]
    disposition = client.get(f"{trained}/state").headers["content-disposition"]
    assert disposition == f'attachment; filename="{name}.safetensors"'


def test_two_downloads_are_the_same_bytes(client: Client, trained: str) -> None:
    assert download(client, trained) == download(client, trained)


def test_a_file_rewritten_by_another_program_is_taken(client: Client, trained: str) -> None:
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


def test_given_groups_equal_to_the_default_are_one_state(client: Client, trained: str) -> None:
    other = create(client, groups=[{"match": ["*bias"], "weight_decay": 0.0}])
    assert upload(client, other, download(client, trained)).status_code == 204
    assert client.get(other).json()["digest"] == client.get(trained).json()["digest"]
    default = create(client)
    assert upload(client, default, download(client, other)).status_code == 204
    assert client.get(default).json()["digest"] == client.get(trained).json()["digest"]


def test_a_session_goes_back_with_its_history(client: Client) -> None:
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
