"""The maker of the golden files: `python -m tests.golden.make`, after a change of the contract or of a refusal.

They are in `clients/contract/golden`:

<case>/session.json       what the session is created with
<case>/<n>.request.bin    the n-th step (`.json` where it is JSON)
<case>/<n>.response.bin   its answer (`.json` where it is JSON, or a problem document)
<case>/calls.json         by number, the calls that are more than steps
"""

import json
import shutil
from pathlib import Path
from typing import Any

import httpx2
from optim_client._gradients import parts_of
from optim_client._tensors import decode

from tests.bodies import encode
from tests.contract import GOLDEN
from tests.golden.cases import CASES, Case, Other, Step
from tests.service.calls import SAFETENSORS, path_of, serving

MINIMAL = {"Prefer": "return=minimal"}
SAID = ("step", "skipped_steps", "digest", "labels")
FORMS = {"json": "application/json", "bin": SAFETENSORS}


def write(folder: Path) -> None:
    """Write the files of every case into the folder."""
    for name, case in CASES.items():
        place = folder / name
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        (place / "session.json").write_text(json.dumps(case.settings, indent=2) + "\n")
        _write_steps(place, case)


def _write_steps(place: Path, case: Case) -> None:
    form = "bin" if case.binary else "json"
    calls = dict[int, dict[str, Any]]()
    with serving() as client:
        session = path_of(client.post("/v1/sessions", json=case.settings))
        params = case.params
        for n, step in enumerate(case.steps, 1):
            if isinstance(step, Other):
                calls[n] = _written(step, client.post(f"{session}/{step.path}", json=step.body))
                continue
            calls[n] = {"path": "preview"} if step.preview else {"headers": MINIMAL} if step.minimal else {}
            sent = step.params or (None if case.hold_params and n > 1 else params)
            request = _binary(step, sent) if case.binary else _json(step, sent)
            headers = {"content-type": FORMS[form], **calls[n].get("headers", {})}
            answer = client.post(f"{session}/{calls[n].get('path', 'steps')}", content=request, headers=headers)
            (place / f"{n}.request.{form}").write_bytes(request)
            (place / f"{n}.response.{form if answer.is_success else 'json'}").write_bytes(answer.content)
            params = _params_of(answer, params)
    if calls := {n: call for n, call in calls.items() if call}:
        (place / "calls.json").write_text(json.dumps(calls, indent=2) + "\n")


def _written(other: Other, answer: httpx2.Response) -> dict[str, Any]:
    """Return a call that is no step, with the members of its answer that depend on neither time nor id."""
    assert answer.is_success, answer.text
    return {"path": other.path, "body": other.body, "answer": {name: answer.json()[name] for name in SAID}}


def _binary(step: Step, params: Any) -> bytes:
    numbers = {"loss": step.loss, "lr": step.lr, "grad_scale": step.grad_scale}
    texts = {name: repr(value) for name, value in numbers.items() if value is not None}
    if step.overrides is not None:
        texts["overrides"] = json.dumps(step.overrides, separators=(",", ":"))
    grads, others = parts_of(step.grads)
    tensors = {"grads": grads} if params is None else {"params": params, "grads": grads}
    return encode(tensors, {"step": str(step.number), **texts}, others)


def _json(step: Step, params: Any) -> bytes:
    names = ("loss", "lr", "overrides", "grad_scale")
    document = {"step": step.number, "params": params, "grads": step.grads} | {n: getattr(step, n) for n in names}
    return json.dumps({name: value for name, value in document.items() if value is not None}).encode()


def _params_of(answer: httpx2.Response, before: Any) -> Any:
    """Return the next step's parameters; after a refusal still those before."""
    if not answer.is_success:
        return before
    return (
        answer.json().get("params") if "json" in answer.headers["content-type"] else decode(answer.content, "params")[0]
    )


if __name__ == "__main__":
    write(GOLDEN)
