"""State files as `.npz` files under optax's names. The optax of tests/peers goes on from them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optim_client import Client
from optim_client._state_file import StateFile
from optim_client.optax import export_npz, import_npz
from optim_client.optax._forms import FORMS

from tests.client.training import bits, grads_for, some_params, train

Npz = dict[str, Any]


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with Client("memory:") as client:
        yield client


@pytest.fixture
def saved(client: Client, tmp_path: Path) -> Any:
    """Return a function that makes a session, takes two steps, and saves the state."""

    def saved(optimizer: Any, *, hold_params: bool = False, **settings: Any) -> Path:
        session = client.sessions.create(optimizer, hold_params=hold_params, **settings)
        if hold_params:
            session.put_params(some_params())
            for number in (1, 2):
                session.step(grads=grads_for(some_params(), number))
        else:
            train(session, some_params(), range(1, 3))
        path = tmp_path / optimizer
        session.save_state(path)
        return path

    return saved


def loaded(path: Path) -> Npz:
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def same(one: StateFile, other: StateFile) -> bool:
    return one.session == other.session and {slot: bits(of) for slot, of in one.slots.items()} == {
        slot: bits(of) for slot, of in other.slots.items()
    }


SETTINGS: dict[str, dict[str, Any]] = {"sgd": {"momentum": 0.9}, "rmsprop": {"centered": True}}


@pytest.mark.parametrize("hold_params", [False, True])
@pytest.mark.parametrize("optimizer", FORMS)
def test_a_state_goes_to_npz_and_back_with_every_bit(
    optimizer: str, hold_params: bool, saved: Any, client: Client, tmp_path: Path
) -> None:
    source = saved(optimizer, hold_params=hold_params, **SETTINGS.get(optimizer, {}))
    export_npz(source, tmp_path / "npz")
    import_npz(tmp_path / "npz", tmp_path / "back")
    assert same(StateFile.read(source), StateFile.read(tmp_path / "back"))
    assert client.sessions.create_from_state(tmp_path / "back").info.step == 2  # the digest is that of the content


def test_numpy_alone_reads_the_moments_by_their_names(saved: Any, tmp_path: Path) -> None:
    source = saved("adamw", hold_params=True)
    export_npz(source, tmp_path / "npz")
    arrays, state = loaded(tmp_path / "npz"), StateFile.read(source)
    assert arrays["count"] == 2
    assert arrays["nu/gewicht-ü"].tobytes() == state.slots["v"]["gewicht-ü"].tobytes()
    assert arrays["params/brain"].dtype == np.float32
    assert json.loads(str(arrays["session"]))["hyperparameters"]["weight_decay"] == 0.01


def test_the_sign_of_lars_is_changed(saved: Any, tmp_path: Path) -> None:
    source = saved("lars")
    export_npz(source, tmp_path / "npz")
    assert (loaded(tmp_path / "npz")["trace/scale"] == -StateFile.read(source).slots["m"]["scale"]).all()


def test_a_file_of_moments_and_a_name_is_enough(client: Client, tmp_path: Path) -> None:
    m, v = np.float32([0.25, -0.5]), np.float32([0.0625, 0.25])
    np.savez(tmp_path / "npz", **{"mu/w": m, "nu/w": v, "count": 3, "session": '{"optimizer": "adamw"}'})  # type: ignore[arg-type]
    import_npz(tmp_path / "npz.npz", tmp_path / "state")
    session = client.sessions.create("adamw")
    assert session.load_state(tmp_path / "state", digest="none").step == 3
    session.save_state(tmp_path / "state")
    slots = StateFile.read(tmp_path / "state").slots
    assert (bits(slots["m"]), bits(slots["v"])) == (bits({"w": m}), bits({"w": v}))


@pytest.mark.parametrize("optimizer", ["adam", "lion"])
def test_changed_moments_need_a_document_without_digest(
    optimizer: str, saved: Any, client: Client, tmp_path: Path
) -> None:
    export_npz(saved(optimizer), tmp_path / "npz")
    arrays = loaded(tmp_path / "npz")
    arrays["mu/scale"] += 1
    arrays.pop("update/scale", None)
    document = json.loads(str(arrays["session"]))
    del document["digest"]
    np.savez(tmp_path / "changed.npz", **{**arrays, "session": json.dumps(document)})
    import_npz(tmp_path / "changed.npz", tmp_path / "state")
    session = client.sessions.create(optimizer)
    assert session.load_state(tmp_path / "state", digest="none").step == 2


def test_a_state_that_optax_lacks_leaves_no_file(saved: Any, tmp_path: Path) -> None:
    for optimizer, settings, why in (
        ("adamw", {"amsgrad": True}, "tensor 'brain': adamw with 'v_max' cannot be"),
        ("adam", {"groups": [{"match": ["half"], "optimizer": "nadam"}]}, "tensor 'half': nadam"),
        ("adam", {"groups": [{"match": ["scale"], "cautious": True}]}, "tensor 'scale': adam with cautious"),
    ):
        with pytest.raises(ValueError, match=why):
            export_npz(saved(optimizer, **settings), tmp_path / "npz")
        assert not (tmp_path / "npz").exists()


def test_counts_that_differ_are_refused_where_optax_counts(client: Client, tmp_path: Path) -> None:
    for optimizer in ("adam", "adagrad"):
        session = client.sessions.create(optimizer)
        w, b = {"w": np.ones(2, np.float32)}, {"b": np.ones(2, np.float32)}
        session.step(w, w)
        session.step({**w, **b}, {**w, **b})
        session.save_state(tmp_path / optimizer)
    with pytest.raises(ValueError, match="'b' has taken 1 steps and 'w' 2"):
        export_npz(tmp_path / "adam", tmp_path / "npz")
    export_npz(tmp_path / "adagrad", tmp_path / "npz")
    import_npz(tmp_path / "npz", tmp_path / "back")
    assert same(StateFile.read(tmp_path / "adagrad"), StateFile.read(tmp_path / "back"))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"mu/scale": None}, r"'scale': adam has the arrays \(nu\); expected \(mu, nu\)"),
        ({"mu/scale": np.zeros(2, np.float32)}, r"'scale': 'mu' has the shape \[2\]; expected \[\]"),
        ({"mu/scale": np.array(0.1)}, "'scale': 'mu' has the dtype float64, and numbers that float32 does not have"),
        ({"mu/scale": np.array(1)}, "'scale': 'mu' has the dtype int64"),
        ({"mu/other": np.zeros(2, np.float32)}, "'other' is not among the tensors"),
        ({"trace/scale": np.zeros((), np.float32)}, "'scale': adam has the arrays"),
        ({"mu": np.zeros(2, np.float32)}, "'mu' must be named field/name"),
        ({"count": np.array(3)}, "count is 3, and the tensors of `session` have taken 2 steps"),
        ({"count": np.array(1.5)}, "`count` must be one whole number"),
        ({"count": None}, "`count` is missing"),
        ({"session": None}, "`session` is missing"),
        ({"session": np.array("{")}, "`session` is no JSON"),
        ({"session": np.array('{"optimizer": "adamx"}')}, "unknown optimizer"),
        ({"session": np.array("[" * 100_000)}, "`session` is no JSON"),
        ({"session": np.array('{"optimizer": "adam", "tensors": {"w": {}}}')}, "shape, dtype and step of tensor 'w'"),
        ({"session": np.array('{"optimizer": "adam", "hyperparameters": 1}')}, "`hyperparameters` .* must be objects"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(change: Npz, why: str, saved: Any, tmp_path: Path) -> None:
    export_npz(saved("adam"), tmp_path / "npz")
    arrays = {key: array for key, array in {**loaded(tmp_path / "npz"), **change}.items() if array is not None}
    np.savez(tmp_path / "changed.npz", **arrays)
    with pytest.raises(ValueError, match=why):
        import_npz(tmp_path / "changed.npz", tmp_path / "state")
    assert not (tmp_path / "state").exists()


def test_pickled_arrays_are_refused_and_not_run(tmp_path: Path) -> None:
    np.savez(tmp_path / "npz.npz", session=np.array([print], dtype=object), count=np.array(1))
    with pytest.raises(ValueError, match="'session' cannot be read"):
        import_npz(tmp_path / "npz.npz", tmp_path / "state")
    (tmp_path / "text").write_text("no zip")
    with pytest.raises(ValueError, match=r"is no \.npz file"):
        import_npz(tmp_path / "text", tmp_path / "state")


def test_a_damaged_archive_is_a_value_error(saved: Any, tmp_path: Path) -> None:
    export_npz(saved("adam"), tmp_path / "npz")
    whole = (tmp_path / "npz").read_bytes()
    at = whole.index(b"\x93NUMPY") + 130  # in the count: its checksum tells
    (tmp_path / "npz").write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    with pytest.raises(ValueError, match="cannot be read: Bad CRC-32"):
        import_npz(tmp_path / "npz", tmp_path / "state")
    assert not (tmp_path / "state").exists()


def test_a_name_that_numpy_cannot_find_is_refused(client: Client, tmp_path: Path) -> None:
    session = client.sessions.create("adam")
    w = {"w.npy": np.ones(2, np.float32)}
    session.step(w, w)
    session.save_state(tmp_path / "state")
    with pytest.raises(ValueError, match=r"mu/w\.npy"):
        export_npz(tmp_path / "state", tmp_path / "npz")
