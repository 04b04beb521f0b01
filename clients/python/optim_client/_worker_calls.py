"""The calls of workers and rounds, each as a `Call`: pure functions that both twins share."""

import json
from dataclasses import dataclass
from typing import SupportsFloat, SupportsIndex, TypedDict
from urllib.parse import quote

from optim_client import _arguments, _calls
from optim_client._calls import Stepped
from optim_client._gradients import Parts
from optim_client._protocol import Call, Request, Response
from optim_client._tensors import Arrays, decode, encode
from optim_client.documents import RoundInfo, WorkerInfo


@dataclass(frozen=True, slots=True)
class Joined:
    """An answer to a join or a renewal: the worker's epoch, and the session's step."""

    epoch: int
    step: int


@dataclass(frozen=True, slots=True)
class Applied:
    """The answer of a contribution's step, with its ETag.

    In the asynchronous mode it has only what the contribution has, with the numbers of its `rows`, and a `staleness`.
    """

    answer: Stepped
    rows: Arrays
    staleness: int | None
    etag: str | None


class ContributionOptions(TypedDict, total=False):
    """The options of a worker's contribution.

    `weight` is its weight in the mean, such as the number of tokens. `loss` goes into the history. The gradients are
    divided by `grad_scale` before they are checked. `step` is the number of its round, for a repetition after a crash.
    `base_step` is the step whose parameters the gradients are of.
    """

    weight: SupportsFloat
    loss: SupportsFloat | None
    grad_scale: SupportsFloat | None
    step: SupportsIndex | None
    base_step: SupportsIndex | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """The numbers that go with the gradients of a contribution."""

    epoch: int
    weight: SupportsFloat = 1.0
    loss: SupportsFloat | None = None
    grad_scale: SupportsFloat | None = None
    base_step: SupportsIndex | None = None

    def metadata(self) -> dict[str, str]:
        """Return the numbers as the metadata of a body. Raises `TypeError`."""
        scalars = {"weight": self.weight, "loss": self.loss, "grad_scale": self.grad_scale}
        written = {name: repr(_arguments.number(name, value)) for name, value in scalars.items() if value is not None}
        if self.base_step is not None:
            written["base_step"] = str(_arguments.whole("base_step", self.base_step))
        return {"epoch": str(self.epoch), **written}


def join(session_id: str, worker: str) -> Call[Joined]:
    """Return the call by which a worker joins: all its tries have one epoch."""
    headers = _calls.writes(_calls.JSON)
    return Call(Request("PUT", _path(session_id, "workers", worker), headers=headers, body=b"{}"), _joined)


def renew(session_id: str, worker: str, epoch: int) -> Call[Joined]:
    """Return the call that renews a lease."""
    path, body = _path(session_id, "workers", worker), json.dumps({"epoch": epoch}).encode()
    return Call(Request("PUT", path, headers=_calls.writes(_calls.JSON), body=body), _joined)


def leave(session_id: str, worker: str, epoch: int) -> Call[None]:
    """Return the call by which a worker leaves, unless another process has joined as it since."""
    path = _path(session_id, "workers", worker)
    return Call(Request("DELETE", path, {"epoch": epoch}, headers=_calls.keyed()), _calls.done)


def workers(session_id: str) -> Call[list[WorkerInfo]]:
    """Return the call that lists the workers."""
    return Call(Request("GET", _calls.path_of(session_id, "workers")), _workers)


def read_round(session_id: str, number: SupportsIndex, wait: SupportsIndex = 0) -> Call[RoundInfo]:
    """Return the call that reads a round, once it is applied or after `wait` seconds. Raises `TypeError`."""
    seconds = _arguments.whole("wait", wait)
    query = {"wait": seconds} if seconds else {}
    return Call(Request("GET", _round(session_id, number), query), _round_info)


def close_round(session_id: str, number: SupportsIndex) -> Call[RoundInfo]:
    """Return the call that closes a round with those who are in. Raises `TypeError`."""
    path = f"{_round(session_id, number)}/close"
    return Call(Request("POST", path, headers=_calls.keyed()), _round_info)


def contribute(
    session_id: str, worker: str, number: int, parts: Parts, beside: Beside, wait: int
) -> Call[Applied | None]:
    """Return the call of a contribution to a round: the answer comes after it, or after `wait` seconds.

    It needs no key: its place names it. Raises `TypeError`.
    """
    path = f"{_round(session_id, number)}/contributions/{quote(worker, safe='')}"
    return _push(path, parts, beside, {"prefer": f"wait={wait}"} if wait else {})


def contribute_async(session_id: str, worker: str, seq: int, parts: Parts, beside: Beside) -> Call[Applied | None]:
    """Return the call of a contribution that is a step of its own. Raises `TypeError`."""
    return _push(f"{_path(session_id, 'contributions', worker)}/{seq}", parts, beside, {})


def params(session_id: str, etag: str | None) -> Call[tuple[Arrays, str | None]]:
    """Return the call that reads the held parameters and their ETag, unless that is still `etag` (304)."""
    call = _calls.params(session_id)
    headers = {**call.request.headers, **({} if etag is None else {"if-none-match": etag})}
    return _calls.tagged(Call(Request("GET", call.request.path, headers=headers), call.read))


def _push(path: str, parts: Parts, beside: Beside, headers: dict[str, str]) -> Call[Applied | None]:
    body = encode({"grads": parts.floats}, beside.metadata(), parts.others)
    sent = {"content-type": _calls.SAFETENSORS, **_calls.accepts(_calls.SAFETENSORS), **headers}
    return Call(Request("PUT", path, headers=sent, body=body), _pushed)


def _path(session_id: str, kind: str, worker: str) -> str:
    return f"{_calls.path_of(session_id, kind)}/{quote(worker, safe='')}"


def _round(session_id: str, number: SupportsIndex) -> str:
    return _calls.path_of(session_id, "rounds", str(_arguments.whole("number", number)))


def checked_name(worker: str) -> str:
    """Return a worker's name. Raises `TypeError` and `ValueError`."""
    if not isinstance(worker, str):
        raise TypeError(f"a worker's name must be a string, not {worker!r}")
    if worker in _calls.NO_IDS or "/" in worker:
        raise ValueError(f"a worker's name cannot be {worker!r}: it has letters, digits and . _ ~ : @ -")
    return worker


def _joined(response: Response) -> Joined:
    document = json.loads(bytes(response.body))
    return Joined(document["epoch"], document["step"])


def _workers(response: Response) -> list[WorkerInfo]:
    return [WorkerInfo.read(worker) for worker in json.loads(bytes(response.body))["workers"]]


def _round_info(response: Response) -> RoundInfo:
    return RoundInfo.read(json.loads(bytes(response.body)))


def _pushed(response: Response) -> Applied | None:
    """Return the step's answer; `None` if the round is open, or has a later step after it by now."""
    if response.headers.get("content-type", "").startswith(_calls.JSON):
        return None
    answer, (rows, metadata) = _calls.stepped(response), decode(response.body, "rows")
    staleness = metadata.get("staleness")
    return Applied(answer, rows, None if staleness is None else int(staleness), _calls.etag_of(response))
