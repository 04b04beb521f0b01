"""Random sequences of all requests, crashes and faults, on every store: each answer is the engine's, to the bit."""

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    precondition,
    rule,
)
from optim_client._tensors import decode

from app import stepping
from app.store.base import Store
from optim_engine import Edits, held_params
from optim_engine.held_views import View, viewed, views_of
from tests.amounts import times
from tests.bodies import encode
from tests.engine.cases import same_bits
from tests.service import any_requests as any_of
from tests.service.any_processes import LARGE, Processes, play
from tests.service.any_requests import faults, seeds
from tests.service.calls import SAFETENSORS, path_of
from tests.service.engine_session import Asked, EngineSession, Taken, agree, new_key

BINARY = {"content-type": SAFETENSORS}
MOST = 3
"""Sessions at a time."""


class Steps(Processes):
    """The requests that take steps, and those that take them back."""

    def asked(self, data: st.DataObject, session: EngineSession, *, preview: bool = False) -> Asked:
        """Return a step that the session can take; the gradients of some have a NaN."""
        names = [name for name in data.draw(any_of.names) if name in session.params] or sorted(session.params)
        seed, is_bad = data.draw(seeds), data.draw(st.sampled_from([False, False, False, False, True]))
        grads = {
            name: any_of.gradient(session, name, data.draw(any_of.kinds), seed + i) for i, name in enumerate(names)
        }
        if is_bad:
            grads[names[0]] = any_of.not_finite(any_of.gradient(session, names[0], "dense", seed))
        once, named = data.draw(any_of.once), data.draw(st.sampled_from(["key", "number", "both"]))
        if not any_of.fits(session, once):
            once = {}
        number = None if named == "key" else session.state.t + 1
        key = None if preview or named == "number" else new_key()
        params = {name: any_of.sent(session, array) for name, array in session.unheld(names).items()}
        return Asked(grads, params, number, key, once, minimal=data.draw(st.integers(0, 5)) == 0)

    @rule(data=st.data(), steps=st.sampled_from([3, 1, 2, 5, 4]), back=st.sampled_from([0, 2, 0, 1, 3]))
    def take(self, data: st.DataObject, steps: int, back: int) -> None:
        """Take some steps, between which settings change and answers are repeated, and undo the last ones of them."""
        session = self.some(data)
        for _ in range(steps):
            self.take_one(session, self.asked(data, session), data.draw(faults))
            if data.draw(st.sampled_from([False, True, False])):
                self.change_one(session, data.draw(any_of.changes), None)
                self.repeat_one(session, session.log[-1:], None)
        if back:
            self.take_back(session, back, data)

    def take_one(self, session: EngineSession, asked: Asked, fault: int | None) -> None:
        path = f"{session.path}/steps"
        if session.config.on_non_finite == "reject" and any_of.is_bad(asked.grads):
            self.expect(422, "POST", path, "non_finite", fault=fault, **asked.content())
            return
        outcome = session.computed(asked)
        answer = self.expect(200, "POST", path, fault=fault, **asked.content())
        session.take(asked, outcome, answer.content)
        agree(answer.content, asked, outcome, session.digest)

    @rule(data=st.data(), fault=faults)
    def repeat(self, data: st.DataObject, fault: int | None) -> None:
        session = self.some(data)
        if session.log:
            self.repeat_one(session, [data.draw(st.sampled_from(session.log))], fault)

    def repeat_one(self, session: EngineSession, steps: Sequence[Taken], fault: int | None) -> None:
        """Send a step again, if there is one."""
        path = f"{session.path}/steps"
        for taken in steps:
            asked = taken.asked
            if taken in (session.applied, session.skipped):
                answer = self.expect(200, "POST", path, fault=fault, **asked.content())
                assert answer.headers["idempotent-replayed"] == "true"
                assert answer.content == taken.answer
            elif asked.key:
                refused = self.expect(409, "POST", path, "step_conflict", fault=fault, **asked.content()).json()
                assert {name: refused.get(name) for name in taken.fate} == taken.fate
                assert refused["current_step"] == session.state.t
            elif asked.number != session.state.t + 1:
                self.expect(409, "POST", path, "step_conflict", fault=fault, **asked.content())

    @rule(data=st.data(), changes=any_of.changes, fault=faults)
    def change(self, data: st.DataObject, changes: dict[str, Any], fault: int | None) -> None:
        self.change_one(self.some(data), changes, fault)

    def change_one(self, session: EngineSession, changes: dict[str, Any], fault: int | None) -> None:
        merged = any_of.merged(session, changes)
        if merged is not None:
            self.write(200, "PATCH", session.path, fault, json=changes)
            session.config = merged

    @rule(data=st.data(), then=st.booleans(), fault=faults)
    def preview(self, data: st.DataObject, then: bool, fault: int | None) -> None:
        session = self.some(data)
        asked, path = self.asked(data, session, preview=True), f"{session.path}/preview"
        if session.config.on_non_finite == "reject" and any_of.is_bad(asked.grads):
            self.expect(422, "POST", path, "non_finite", **asked.content())
            return
        outcome = session.computed(asked)
        answer = self.expect(200, "POST", path, **asked.content())
        digest = session.copied("", 0)
        digest.state = outcome.state
        agree(answer.content, asked, outcome, digest.digest)
        if then and asked.number:
            self.take_one(session, asked, fault)

    @rule(data=st.data(), steps=st.sampled_from([1, 2, 3]))
    def undo(self, data: st.DataObject, steps: int) -> None:
        self.take_back(self.some(data), steps, data)

    def take_back(self, session: EngineSession, steps: int, data: st.DataObject) -> None:
        """Undo so many steps, of which the last may be refused."""
        path = f"{session.path}/undo"
        self.expect(409, "POST", path, "step_conflict", json={"step": session.state.t + 1})
        for _ in range(steps):
            fault, asked = data.draw(faults), {"step": session.state.t}
            if session.earlier:
                self.write(200, "POST", path, fault, json=asked)
                session.take_back()
            elif session.state.t:
                self.expect(409, "POST", path, "undo_unavailable", json=asked, fault=fault)


class Requests(Steps):
    """All other requests, and crashes."""

    @rule()
    def crash_now(self) -> None:
        self.crash()

    @rule(data=st.data(), verb=st.sampled_from(["rename", "remove", "reset"]), fault=faults)
    def edit(self, data: st.DataObject, verb: str, fault: int | None) -> None:
        session = self.some(data)
        known = [name for name in session.state.entries if name in ("w", "x", "emb", "v")]
        if not known:
            return
        name = data.draw(st.sampled_from(known))
        others = {"w": "v", "v": "w"}
        if verb == "rename" and (name not in others or others[name] in session.params):
            return
        edits = {verb: {name: others[name]} if verb == "rename" else [name]}
        self.write(200, "PATCH", f"{session.path}/tensors", fault, json=edits)
        session.edit(Edits(**edits))

    @precondition(lambda self: self.held)
    @rule(data=st.data(), seed=seeds, fault=faults)
    def hold(self, data: st.DataObject, seed: int, fault: int | None) -> None:
        session = self.last = data.draw(st.sampled_from(self.held))
        names = [name for name in data.draw(any_of.names) if name in session.params]
        params = {name: any_of.drawn(session.params[name], seed) for name in names}
        content = {"content": encode({"params": params}, {}), "headers": BINARY}
        self.write(204, "PUT", f"{session.path}/params", fault, **content)
        session.replace_state(session.state.with_params(params))

    @precondition(lambda self: len(self.sessions) < MOST)
    @rule(data=st.data(), steps=st.sampled_from([2, 1, 0]), fault=faults)
    def fork(self, data: st.DataObject, steps: int, fault: int | None) -> None:
        """Fork a session, and step both."""
        session = self.some(data)
        answer = self.write(201, "POST", f"{session.path}/fork", fault, json={})
        assert answer.json()["digest"] == session.digest
        fork = session.copied(f"/v1/sessions/{answer.json()['id']}", 0)
        self.sessions.append(fork)
        for _ in range(steps):
            for each in (fork, session):
                self.take_one(each, self.asked(data, each), None)

    @rule(data=st.data())
    def download(self, data: st.DataObject) -> None:
        session = self.some(data)
        self.check(session)
        file = self.expect(200, "GET", f"{session.path}/state").content
        self.files.append((file, session.copied("", session.undo)))

    @precondition(lambda self: self.files)
    @rule(data=st.data(), fault=faults)
    def upload(self, data: st.DataObject, fault: int | None) -> None:
        session = self.some(data)
        content, file = data.draw(st.sampled_from(self.files))
        fits = session.fits(file)
        self.write(204 if fits else 422, "PUT", f"{session.path}/state", fault, content=content, headers=BINARY)
        if fits:
            session.restore(file)

    @precondition(lambda self: self.files and len(self.sessions) < MOST)
    @rule(data=st.data(), fault=faults)
    def make(self, data: st.DataObject, fault: int | None) -> None:
        content, file = data.draw(st.sampled_from(self.files))
        path = path_of(self.write(201, "POST", "/v1/sessions", fault, content=content, headers=BINARY))
        self.sessions.append(file.copied(path, file.undo))

    @precondition(lambda self: self.held)
    @rule(data=st.data(), view=st.sampled_from([None, "eval", "average"]))
    def look(self, data: st.DataObject, view: View | None) -> None:
        session = self.last = data.draw(st.sampled_from(self.held))
        path = f"{session.path}/params" + (f"?view={view}" if view else "")
        headers = {"accept": SAFETENSORS}
        if not session.config.hold_params or (view and view not in views_of(session.config)):
            self.expect(422, "GET", path, "invalid_session", headers=headers)
            return
        state = session.state
        expected = viewed(session.config, state, view) if view else held_params(state, dict.fromkeys(state.held()))
        assert same_bits(decode(self.expect(200, "GET", path, headers=headers).content, "params")[0], expected)
        if "emb" in state.held():
            body = {"json": {"rows": {"emb": [1, 4]}}, "headers": headers}
            rows = held_params(state, {"emb": np.array([1, 4])})
            answer = self.expect(200, "POST", f"{session.path}/params/rows", **body)
            assert same_bits(decode(answer.content, "params")[0], rows)

    @precondition(lambda self: len(self.sessions) > 1)
    @rule(data=st.data(), fault=faults)
    def delete(self, data: st.DataObject, fault: int | None) -> None:
        session = self.some(data)
        self.sessions.remove(session)
        self.send("DELETE", session.path, fault)
        self.expect(404, "GET", session.path, "session_not_found")


@pytest.mark.campaign
def test_any_order_of_requests_gives_the_bits_of_the_engine(
    stores: dict[str, Store], runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stepping, "LARGE", LARGE)
    play(Requests, stores, runner, examples=times(quick=15, whole=300), steps=30)
