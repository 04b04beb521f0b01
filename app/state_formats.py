"""The formats in which `optim sessions export` and `import` write and read a state: a table. Needs the client alone."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple
from zipfile import ZipFile, is_zipfile

if TYPE_CHECKING:
    from optim_client import Client, Session

STATE = "state.safetensors"
"""The name of the file between a session and another format."""


class Format(NamedTuple):
    """A format other than that of state files: what writes and what reads it, from file to file."""

    write: Callable[[Path, Path], list[str]]
    """Returns the names of settings that the format lacks."""
    read: Callable[[Path, Path, int | None], None]


class State(NamedTuple):
    """A state file, and the session's document in it if no service made it, so that it names no digest."""

    path: Path
    made_elsewhere: Mapping[str, Any] | None = None


def export(session: "Session", file: Path, name: str) -> list[str]:
    """Write the session's state into a file; return the names of settings that have no place in the format."""
    if name == SAFETENSORS:
        session.save_state(file)
        return []
    with TemporaryDirectory() as folder:
        state = Path(folder, STATE)
        session.save_state(state)
        return FORMATS[name].write(state, file)


@contextmanager
def as_state(file: Path, name: str | None, step: int | None) -> Iterator[State]:
    """Yield a state file with what is in the file. `step` is for optimizers of torch that count none.

    Raises `OSError`, and `ValueError` where the file is damaged or something else.
    """
    from optim_client import StateFile

    name = name or _format_of(file)
    if step is not None and name != TORCH:
        raise ValueError(f"--step is for a file of torch; {file} is {name}, which has the step in it")
    if name == SAFETENSORS:
        yield State(file)
        return
    with TemporaryDirectory() as folder:
        state = Path(folder, STATE)
        try:
            FORMATS[name].read(file, state, step)
        except (OSError, ValueError):
            raise
        except Exception as error:  # a reader meets anything in a damaged file
            raise ValueError(f"{file} cannot be read as {name}: {error!r}") from error
        document = StateFile.read(state).session
        yield State(state, None if document.get("digest") else document)


def create(client: "Client", state: State) -> "Session":
    """Create a session from a state file, also from one that was made elsewhere; if that is refused, none is left."""
    from optim_client.settings import FIELDS

    document = state.made_elsewhere
    if document is None:
        return client.sessions.create_from_state(state.path)
    settings: dict[str, Any] = {name: value for name, value in document.items() if name in FIELDS}
    hyperparameters = document.get("hyperparameters") or {}
    if others := hyperparameters.keys() & {"optimizer", *FIELDS}:
        raise ValueError(f"the file's hyperparameters have {min(others)!r}, which is none")
    session = client.sessions.create(document["optimizer"], **hyperparameters, **settings)
    try:
        session.load_state(state.path, digest="none")
    except BaseException:
        session.delete()
        raise
    return session


def _format_of(file: Path) -> str:
    """Return the name of the file's format. Raises `OSError` and `ValueError`."""
    with file.open("rb") as opened:
        first = opened.read(4)
        if first[:1] == b"\x80":  # a pickle
            return TORCH
        if first != b"PK\x03\x04":
            return SAFETENSORS
        if not is_zipfile(opened):
            raise ValueError(f"{file} is the beginning of a zip archive without its end: take another copy")
        try:
            with ZipFile(opened) as archive:
                members = archive.namelist()
        except Exception as error:  # of a damaged archive, it raises anything
            raise ValueError(f"{file} is a damaged zip archive: {error}") from None
    if any(member.endswith("/data.pkl") for member in members):
        return TORCH
    if all(member.endswith(".npy") for member in members):
        return OPTAX
    raise ValueError(f"{file} is a zip archive of neither torch nor NumPy: {', '.join(members[:3])}")


def _write_torch(state: Path, file: Path) -> list[str]:
    left_out: list[str] = _torch().export_torch(state, file)
    return left_out


def _read_torch(file: Path, state: Path, step: int | None) -> None:
    _torch().import_torch(file, state, step=step)


def _torch() -> Any:
    """Return the package that reads and writes files of torch. Raises `ValueError` where torch is not installed."""
    try:
        from optim_client import torch
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise ValueError(
            "the format torch needs PyTorch, which is not installed here: pip install torch, or take --format "
            "safetensors"
        ) from None
    return torch


def _write_npz(state: Path, file: Path) -> list[str]:
    from optim_client.optax import export_npz

    export_npz(state, file)
    return []


def _read_npz(file: Path, state: Path, step: int | None) -> None:
    from optim_client.optax import import_npz

    import_npz(file, state)


SAFETENSORS, TORCH, OPTAX = "safetensors", "torch", "optax-npz"
FORMATS: Mapping[str, Format] = {TORCH: Format(_write_torch, _read_torch), OPTAX: Format(_write_npz, _read_npz)}
NAMES = (SAFETENSORS, *FORMATS)
