"""The calls of the service, each as a `Call`: pure functions that both twins share."""

import json
import uuid
from collections.abc import Collection, Generator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO, SupportsFloat, SupportsIndex, TypeVar, Unpack
from urllib.parse import quote

from numpy.typing import ArrayLike

from optim_client import _arguments
from optim_client._event import Mark
from optim_client._history import History
from optim_client._protocol import EVENT_STREAM, Call, Request, Response, is_stream
from optim_client._tensors import NOTHING, Arrays, ArraysLike, decode, encode
from optim_client.documents import HistoryRow, Metrics, OptimizerInfo, Page, SessionInfo, TensorHealth
from optim_client.session_errors import StepMismatch
from optim_client.settings import Changes, ForkSettings, Overrides, Settings, StepOptions, View, document

JSON = "application/json"
SAFETENSORS = "application/vnd.safetensors"
MINIMAL = {"prefer": "return=minimal"}
"""The header of a step whose answer needs no parameters."""
NO_IDS = frozenset({"", ".", ".."})
"""Path segments that lead to another path."""
HISTORY_PAGE = 1000
"""Rows that are asked for at once."""

T = TypeVar("T")
Conversation = Generator[Call[Any], Any, T]
"""The calls of one verb. It is sent the result of each, or has its error thrown in, and returns the verb's result."""


@dataclass(frozen=True, slots=True)
class Stepped:
    """An answer to a step."""

    params: Arrays
    step: int
    skipped: bool
    digest: str
    metrics: Metrics
    params_digest: str | None = None
    warnings: list[str] = field(default_factory=list)
    replayed: bool = False


def tagged(call: Call[T]) -> Call[tuple[T, str | None]]:
    """Return the same call, its result beside the answer's `ETag`; `None` where no `If-Match` can use that."""
    return Call(call.request, lambda response: (call.read(response), etag_of(response)))


def ready() -> Call[None]:
    """Return the call that asks whether the store can be written."""
    return Call(Request("GET", "/readyz"), _nothing)


def optimizers() -> Call[dict[str, OptimizerInfo]]:
    """Return the call that lists the optimizers."""
    return Call(Request("GET", "/v1/optimizers"), _optimizers)


def create(optimizer: str, settings: Settings, key: str | None = None) -> Call[SessionInfo]:
    """Return the call that creates a session. Raises `TypeError` and `ValueError`.

    The order of the settings does not matter for a repetition with the same key.
    """
    body = _json({"optimizer": _arguments.as_json("optimizer", optimizer), **document(settings)}, sort_keys=True)
    return Call(Request("POST", "/v1/sessions", headers=writes(JSON, key), body=body), _session)


def create_from_state(file: BinaryIO, key: str | None = None) -> Call[SessionInfo]:
    """Return the call that creates a session from a saved state. Raises `TypeError` and `ValueError`."""
    return Call(Request("POST", "/v1/sessions", headers=writes(SAFETENSORS, key), body=file), _session)


def list_sessions(
    limit: int | None, cursor: str | None, labels: Mapping[str, str] | None = None, optimizer: str | None = None
) -> Call[Page[SessionInfo]]:
    """Return the call that lists sessions. Raises `TypeError`."""
    wanted = _arguments.mapping("labels", labels or {}, "{'run': 'mnist-3'}")
    label = [f"{name}:{value}" for name, value in wanted.items()]
    query = _given(limit=limit, cursor=cursor, label=label or None, optimizer=optimizer)
    return Call(Request("GET", "/v1/sessions", query=query), _listed)


def get(session_id: str, step: int | None = None) -> Call[SessionInfo]:
    """Return the call that reads a session, and raises `StepMismatch` where it is not at `step`."""

    def at_step(info: SessionInfo) -> SessionInfo:
        if step is not None and info.step != step:
            raise StepMismatch(session_id, step, info.step)
        return info

    return Call(Request("GET", path_of(session_id)), _session).then(at_step)


def update(session_id: str, changes: Changes) -> Call[SessionInfo]:
    """Return the call that changes settings. Raises `TypeError` and `ValueError`."""
    body = _json(document(changes))
    return Call(Request("PATCH", path_of(session_id), headers=writes(JSON), body=body), _session)


def fork(session_id: str, settings: ForkSettings, key: str | None = None) -> Call[SessionInfo]:
    """Return the call that creates a session in the state of another one. Raises `TypeError` and `ValueError`."""
    body = _json({name: _arguments.as_json(name, value) for name, value in settings.items()}, sort_keys=True)
    return Call(Request("POST", path_of(session_id, "fork"), headers=writes(JSON, key), body=body), _session)


def undo(session_id: str, step: int) -> Call[SessionInfo]:
    """Return the call that undoes the session's last step, of that number. Raises `TypeError`."""
    body = _json({"step": _arguments.as_json("step", step)})
    return Call(Request("POST", path_of(session_id, "undo"), headers=writes(JSON), body=body), _session)


def delete(session_id: str) -> Call[None]:
    """Return the call that deletes a session."""
    return Call(Request("DELETE", path_of(session_id), headers=keyed()), done)


def step(
    session_id: str,
    number: int,
    params: ArraysLike | None,
    grads: ArraysLike,
    loss: SupportsFloat | None = None,
    lr: SupportsFloat | None = None,
    *,
    step: SupportsIndex | None = None,
    overrides: Overrides | None = None,
    grad_scale: SupportsFloat | None = None,
    return_params: bool = True,
    others: Mapping[str, Arrays] = NOTHING,
) -> Call[Stepped]:
    """Return the call of step `step`, else `number`. `others` are as for `encode`.

    Raises `TypeError` and `ValueError`.
    """
    if step is not None:
        number = _arguments.whole("step", step)
    tensors = {"grads": grads} if params is None else {"params": params, "grads": grads}
    scalars = _given(loss=loss, lr=lr, grad_scale=grad_scale)
    written = {name: repr(_arguments.number(name, value)) for name, value in scalars.items()}
    if overrides is not None:
        written["overrides"] = _json(_arguments.as_json("overrides", overrides)).decode()
    body = encode(tensors, {"step": str(number), **written}, others)
    headers = {**writes(SAFETENSORS), **accepts(SAFETENSORS), **({} if return_params else MINIMAL)}
    call = Call(Request("POST", path_of(session_id, "steps"), headers=headers, body=body), stepped)
    return call.then(lambda answer: _of_step(number, answer))


def preview(
    session_id: str,
    number: int,
    params: ArraysLike | None,
    grads: ArraysLike,
    others: Mapping[str, Arrays] = NOTHING,
    **options: Unpack[StepOptions],
) -> Call[Stepped]:
    """Return the call that asks for the answer of step `number`. It has no key. Raises `TypeError` and `ValueError`."""
    taken = step(session_id, number, params, grads, others=others, **options)
    headers = {name: value for name, value in taken.request.headers.items() if name != "idempotency-key"}
    return replace(taken, request=replace(taken.request, path=path_of(session_id, "preview"), headers=headers))


def params(session_id: str, view: View | None = None) -> Call[Arrays]:
    """Return the call that reads the held parameters, or another view of them."""
    query = {} if view is None else {"view": view}
    return Call(Request("GET", path_of(session_id, "params"), query, headers=accepts(SAFETENSORS)), _params)


def rows(session_id: str, rows: Mapping[str, ArrayLike]) -> Call[Arrays]:
    """Return the call that reads rows of held parameters. Raises `TypeError` and `ValueError`."""
    wanted = _arguments.mapping("rows", rows, "{'emb': [3, 17]}")
    indices = {name: _arguments.indices(f"rows[{name!r}]", given) for name, given in wanted.items()}
    headers = {"content-type": JSON, **accepts(SAFETENSORS)}
    path = path_of(session_id, "params", "rows")
    return Call(Request("POST", path, headers=headers, body=_json({"rows": indices})), _params)


def put_params(session_id: str, params: ArraysLike) -> Call[None]:
    """Return the call that gives parameters to a session that holds them."""
    body = encode({"params": params}, {})
    return Call(Request("PUT", path_of(session_id, "params"), headers=writes(SAFETENSORS), body=body), done)


def state(session_id: str, into: BinaryIO) -> Call[None]:
    """Return the call that downloads the state into a file."""
    return Call(Request("GET", path_of(session_id, "state"), headers=accepts(SAFETENSORS), into=into), _file)


def put_state(session_id: str, file: BinaryIO, digest: str | None = None) -> Call[None]:
    """Return the call that uploads a saved state."""
    path, query = path_of(session_id, "state"), _given(digest=digest)
    return Call(Request("PUT", path, query=query, headers=writes(SAFETENSORS), body=file), done)


def tensor_health(session_id: str) -> Call[dict[str, TensorHealth]]:
    """Return the call that reads the health of a session's tensors."""
    return Call(Request("GET", path_of(session_id, "tensors")), _health)


def edit_tensors(
    session_id: str, rename: Mapping[str, str], remove: Collection[str], reset: Collection[str]
) -> Call[SessionInfo]:
    """Return the call that renames, removes and resets tensors. Raises `TypeError`."""
    lists = {"remove": _arguments.names("remove", remove), "reset": _arguments.names("reset", reset)}
    edits = {"rename": _arguments.mapping("rename", rename, "{'old': 'new'}"), **lists}
    body = _json({name: _arguments.as_json(name, edit) for name, edit in edits.items()})
    return Call(Request("PATCH", path_of(session_id, "tensors"), headers=writes(JSON), body=body), _session)


def history(session_id: str, **query: int | None) -> Call[History]:
    """Return the call that reads rows of the history."""
    return Call(Request("GET", path_of(session_id, "history"), query=_given(**query)), _history)


def marks(session_id: str) -> Call[list[Mark]]:
    """Return the call that reads the marks beside the history."""
    return Call(Request("GET", path_of(session_id, "history"), query={"points": 1}), _marks)


def events(session_id: str, after: int | None) -> Call[None]:
    """Return the call that opens a stream of events, behind that number. Raises `TypeError`."""
    headers = accepts(EVENT_STREAM)
    if after is not None:
        headers["last-event-id"] = str(_arguments.whole("after", after))
    return Call(Request("GET", path_of(session_id, "events"), headers=headers), _stream)


def path_of(session_id: str, *below: str) -> str:
    """Return the path of a session, or of what is below it. Raises `TypeError` and `ValueError`."""
    if not isinstance(session_id, str):
        raise TypeError(f"a session's id must be a string, not {session_id!r}")
    if session_id in NO_IDS:
        raise ValueError(f"a session's id cannot be {session_id!r}")
    return "/".join(["/v1/sessions", quote(session_id, safe=""), *below])


def writes(media_type: str, key: str | None = None) -> dict[str, str]:
    """Return the headers of a write: its media type, and its idempotency key."""
    return {"content-type": media_type, **keyed(key)}


def keyed(given: str | None = None) -> dict[str, str]:
    """Return the header of the idempotency key, or of a new one, which goes over all tries of a call."""
    key = uuid.uuid4().hex if given is None else _arguments.idempotency_key(given)
    return {"idempotency-key": f'"{key}"'}


def etag_of(response: Response) -> str | None:
    """Return the answer's ETag. A weak one (a proxy compressed the answer) never fulfils `If-Match`."""
    etag = response.headers.get("etag", "")
    return etag if etag.startswith('"') else None


def accepts(media_type: str) -> dict[str, str]:
    """Return the header that asks for an answer of that media type."""
    return {"accept": f"{media_type}, application/problem+json"}


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _json(value: Mapping[str, Any], *, sort_keys: bool = False) -> bytes:
    return json.dumps(value, allow_nan=False, separators=(",", ":"), sort_keys=sort_keys).encode()


def _nothing(_: Response) -> None:
    return None


def _stream(response: Response) -> None:
    """Check that an answer is a stream. Raises `ValueError`."""
    if not is_stream(response):
        raise ValueError(f"unexpected content-type {response.headers.get('content-type')}; expected {EVENT_STREAM}")


def done(response: Response) -> None:
    """Check the status of an answer without a body. A repeated deletion finds nothing (404)."""
    if response.status not in {204, 404}:
        raise ValueError(f"unexpected status {response.status}; expected 204")


def _file(response: Response) -> None:
    """Check the media type of a download, which is written already."""
    kind = response.headers.get("content-type", SAFETENSORS)
    if kind not in {SAFETENSORS, "application/octet-stream"}:
        raise ValueError(f"unexpected content-type {kind}; expected {SAFETENSORS}")


def _session(response: Response) -> SessionInfo:
    return SessionInfo.read(json.loads(bytes(response.body)))


def _listed(response: Response) -> Page[SessionInfo]:
    page = json.loads(bytes(response.body))
    sessions = [SessionInfo.read(session) for session in page["sessions"]]
    unreadable = [lost["id"] for lost in page.get("unreadable", [])]
    return Page(sessions, page["next_cursor"], unreadable)


def _optimizers(response: Response) -> dict[str, OptimizerInfo]:
    found = json.loads(bytes(response.body))["optimizers"]
    return {name: OptimizerInfo.read(optimizer) for name, optimizer in found.items()}


def stepped(response: Response) -> Stepped:
    """Return the answer to a step. Raises `KeyError` and `ValueError`."""
    params, metadata = decode(response.body, "params")
    skipped = json.loads(metadata["skipped"])
    metrics = Metrics.read(json.loads(metadata["metrics"]))
    warnings = json.loads(metadata.get("warnings", "[]"))
    step, digest, params_digest = int(metadata["step"]), metadata["digest"], metadata.get("params_digest")
    replayed = response.headers.get("idempotent-replayed") == "true"
    return Stepped(params, step, skipped, digest, metrics, params_digest, warnings, replayed)


def _of_step(number: int, answer: Stepped) -> Stepped:
    """Return the answer, if it is to that step. Raises `ValueError`."""
    if answer.step != (number - 1 if answer.skipped else number):
        raise ValueError(f"unexpected step {answer.step}; expected {number}, which was sent")
    return answer


def _params(response: Response) -> Arrays:
    return decode(response.body, "params")[0]


def _health(response: Response) -> dict[str, TensorHealth]:
    tensors = json.loads(bytes(response.body))["tensors"]
    return {name: TensorHealth.read(tensor) for name, tensor in tensors.items()}


def _marks(response: Response) -> list[Mark]:
    return [Mark.read(mark) for mark in json.loads(bytes(response.body))["marks"]]


def _history(response: Response) -> History:
    return History(HistoryRow.read(row) for row in json.loads(bytes(response.body))["history"])
