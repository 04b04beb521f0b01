"""State files: a session's whole state as safetensors, and taking one in, name by name.

    m/<name>  v/<name>  v_max/<name>  b/<name>  params/<name>      and in the metadata `session`, as JSON

What is in a file must be what its digest says, and must fit the session that takes it: optimizer, what is kept for
each tensor, shapes and dtypes. Nothing is cast, and nothing is matched by its place. A file that was made by hand may
name no digest, where the caller says so.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import orjson

from app import advice
from app.digest import digest_of
from app.errors import InvalidState
from app.session import DTYPES, Session
from app.store.block_sums import sum_of
from app.store.formats import newer_format
from app.store.piece import Piece, checksum_of, cut
from app.wire.codec import Buffer, Limits, checked_shape
from app.wire.json_text import read_text
from app.wire.safetensors_tensors import read_file, write_file
from app.wire.session_json import CREATION, read_creation, view
from optim_engine import Config, EngineError, Entry, Layout, Spec, State
from optim_engine.arrays import Array
from optim_engine.checks import refusal_of
from optim_engine.config import SETTINGS
from optim_engine.fields import LARGEST_INTEGER, named
from optim_engine.layout import SLOTS
from optim_engine.rule import SharingRule

FORMAT = 1
"""The number of a file's form, which ages apart from that of stores."""
DIGEST = re.compile("[0-9a-f]{32}")
MEMBERS: Mapping[str, tuple[type[object], str, str]] = {
    "format": (int, "a whole number", f"{FORMAT}"),
    "step": (int, "a whole number", "how many steps were taken"),
    "skipped_steps": (int, "a whole number", "how many steps were skipped, or 0"),
    "tensors": (dict, "an object", "shape, dtype and step of each tensor, by name"),
    "optimizer": (str, "text", "the optimizer's name"),
}
"""The members that a file's session must have: their types, these in words, and what to write."""


def write_state(session: Session, state: State) -> list[Buffer]:
    """Return the file as buffers."""
    about = {name: value for name, value in view(session).items() if name != "workers"}
    metadata = {"session": orjson.dumps({"format": FORMAT, **about}).decode()}
    return write_file(metadata, ((f"{slot}/{tensor}", array) for slot, tensor, array in state.arrays()))


class StateFile:
    """A file that was read: its session's settings, and its `state`. Raises `MalformedBody` and `InvalidState`."""

    def __init__(self, body: Buffer, limits: Limits, *, digest_needed: bool = True) -> None:
        metadata, self._arrays = read_file(body, SLOTS, limits)
        self._document = _read_document(metadata)
        self._config = _read_config(self._document)
        listed = self._document["tensors"]
        limits.check_count(len(listed))
        for name in listed:
            limits.check_name(name)
        self._entries = {name: _read_entry(name, listed[name], self._arrays) for name in listed}
        for name, entry in self._entries.items():
            limits.check_dimensions(name, len(entry.spec.shape))
        self._counts = {name: listed[name]["step"] for name in listed}
        self._check_counts()
        self._check_nothing_is_left_over()
        self._check_slots(self._config, "the file's own settings need")
        self.state = self._load()
        _check_shared(self._config, self.state)
        if self._document["digest"] is not None:
            self._check_digest(self._document["digest"])
        elif digest_needed:
            raise InvalidState(
                "the file names no digest, by which it could be told whether its content is whole; one that was made "
                "by hand is taken by PUT …/state?digest=none"
            )

    def creation(self) -> dict[str, Any]:
        """Return what a session that is made of the file has: `config`, `ttl_seconds`, `labels`, `skipped_steps`."""
        known = {key: self._document[key] for key in CREATION.keys() - {"workers"} if key in self._document}
        if self._config.groups == replace(self._config, given_groups=None).groups:
            known["groups"] = None  # a file has the effective ones, which are the default here
        try:
            return {**read_creation(known), "skipped_steps": self._document["skipped_steps"]}
        except EngineError as error:
            raise InvalidState(f"the file's session cannot be made: {error}") from None

    def fitted(self, session: Session) -> Session:
        """Return the session with this state in it. Raises `InvalidState` if the file does not fit."""
        ours, theirs = session.config, self._config
        if ours.optimizer != theirs.optimizer:
            raise InvalidState(f"the file is of {theirs.optimizer}, the session is {ours.optimizer}")
        if ours.hold_params != theirs.hold_params:
            held, holds = named(theirs.hold_params), named(ours.hold_params)
            raise InvalidState(f"hold_params is {held} in the file, {holds} in the session")
        if ours.average != theirs.average:
            kept, keeps = (repr(config.average and config.average.decay) for config in (theirs, ours))
            raise InvalidState(f"the decay of `average` is {kept} in the file, {keeps} in the session")
        for name, entry in session.layout.entries.items():
            self._check_known(name, entry)
        self._check_slots(ours, "the session needs")
        self._check_rules(ours)
        notes = advice.of_schedule(ours, self.state.t, theirs)
        return replace(session, skipped_steps=self._document["skipped_steps"], notes=notes)

    def _check_known(self, name: str, entry: Entry) -> None:
        theirs = self._entries.get(name)
        if theirs is None:
            raise InvalidState(
                f"tensor {name!r} of the session is not in the file; PATCH …/tensors with `remove` forgets it",
                tensor=name,
            )
        if theirs.spec != entry.spec:
            raise InvalidState(
                f"tensor {name!r} is {theirs.spec} in the file, {entry.spec} in the session",
                tensor=name,
                expected=str(entry.spec),
                got=str(theirs.spec),
            )

    def _check_slots(self, config: Config, who_needs: str) -> None:
        """Raise `InvalidState` unless the file has of each tensor what those settings need."""
        try:
            groups = config.groups_of(self._entries)
        except EngineError as error:
            raise InvalidState(str(error)) from None
        for name, entry in self._entries.items():
            if refusal := refusal_of(config, groups[name], name, entry.spec.shape):
                raise InvalidState(f"tensor {name!r} {refusal}", tensor=name)
            needed = config.slots_of(groups[name], entry.spec.shape, begun=self._counts[name] > 0)
            if set(entry.slots) != set(needed):
                way_out = _names("add", name, needed, entry.slots) + _names("leave out", name, entry.slots, needed)
                if "row_steps" in {*entry.slots} - {*needed}:
                    way_out = ["its rows are lazy, so give the tensor a group whose `sparse` is `lazy`"]
                raise InvalidState(
                    f"tensor {name!r} has ({', '.join(entry.slots)}) in the file, {who_needs} "
                    f"({', '.join(slot for slot in SLOTS if slot in needed)}): {' and '.join(way_out)}",
                    tensor=name,
                )

    def _check_rules(self, config: Config) -> None:
        """Raise `InvalidState` if a tensor's moments are of another rule than those settings have for it."""
        ours, theirs = (settings.optimizers_of(self._entries) for settings in (config, self._config))
        for name, count in self._counts.items():
            if count and ours[name] != theirs[name]:
                raise InvalidState(
                    f"tensor {name!r} is of {theirs[name]} in the file, of {ours[name]} in the session: change "
                    "`groups` of one of the two",
                    tensor=name,
                    expected=ours[name],
                    got=theirs[name],
                )

    def _check_nothing_is_left_over(self) -> None:
        for slot, arrays in self._arrays.items():
            for name in arrays:
                if name not in self._entries:
                    raise InvalidState(f"{slot}/{name:.80} is not in the file's list of tensors", tensor=name)

    def _load(self) -> State:
        layout = Layout(self._entries)
        state = State.allocate(self._document["step"], layout, self._counts)
        for name, slot in layout.offsets:
            state.array(name, slot)[...] = self._arrays[slot][name]
        return state

    def _check_counts(self) -> None:
        step = self._document["step"]
        for name, count in self._counts.items():
            if count > step:
                raise InvalidState(
                    f"tensor {name!r} has taken {count} steps in the file, its session {step}", tensor=name
                )
            rows = self._arrays["row_steps"].get(name)
            if rows is not None and not ((rows >= 0) & (rows <= count)).all():
                raise InvalidState(
                    f"row_steps/{name:.80} is from {rows.min()} to {rows.max()} and should be from 0 to {count}, the "
                    "tensor's step",
                    tensor=name,
                )

    def _check_digest(self, expected: str) -> None:
        state = self.state
        checksum = sum_of if self._config.lazy_groups else checksum_of
        pieces = [Piece("", len(data), checksum(data)) for data in cut(state.memory.data)]
        digest = digest_of(self._config, state.t, state.layout, state.counts, pieces)
        if digest != expected:
            raise InvalidState(
                "the file's content is not what its digest says: it was changed or damaged; take another copy, or, if "
                "you changed it, leave its digest out and PUT it with ?digest=none",
                expected=expected,
                got=digest,
            )


def _read_document(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return the session of the metadata; each part has the right type, and nothing more is checked."""
    if "session" not in metadata:
        raise InvalidState("__metadata__ has no `session`: this is not a state file")
    document = read_text(metadata["session"].encode(), "__metadata__ `session`")
    if not isinstance(document, dict):
        raise InvalidState("`session` in the metadata is not an object")
    for key, (kind, words, way_out) in MEMBERS.items():
        if key not in document:
            raise InvalidState(f"`session` in the metadata: `{key}` is missing; write {way_out}")
        if type(document[key]) is not kind:
            raise InvalidState(
                f"`session` in the metadata: `{key}` must be {words}, not {named(document[key])}; write {way_out}"
            )
    digest = document.setdefault("digest", None)
    if digest is not None and not (isinstance(digest, str) and DIGEST.fullmatch(digest)):
        raise InvalidState(
            f"`session` in the metadata: `digest` must be 32 hexadecimal digits, not {named(digest)}; leave it out and "
            "PUT the file with ?digest=none"
        )
    if document["format"] > FORMAT:
        raise InvalidState(newer_format("the file", document["format"], FORMAT))
    for key in ("step", "skipped_steps"):
        if not _is_count(document[key]):
            raise InvalidState(
                f"`session` in the metadata: `{key}` must be from 0 to {LARGEST_INTEGER}, not {named(document[key])}"
            )
    return document


def _check_shared(config: Config, state: State) -> None:
    """Raise `InvalidState` if two tensors differ in a number that all tensors of their rule share."""
    first: dict[str, str] = {}
    for name, group in config.groups_of(state.entries).items():
        rule = config.rule_of(group)
        for slot in rule.shared if isinstance(rule, SharingRule) and state.counts[name] else ():
            other = first.setdefault(slot, name)
            theirs, ours = state.array(other, slot), state.array(name, slot)
            if ours.tobytes() != theirs.tobytes():
                raise InvalidState(
                    f"{slot}/{name:.80} is {ours} and {slot}/{other:.80} is {theirs}: give all tensors of "
                    f"{config.optimizer_of(group)} the same number",
                    tensor=name,
                    expected=str(theirs),
                    got=str(ours),
                )


def _names(verb: str, tensor: str, these: Iterable[str], others: Iterable[str]) -> list[str]:
    """Return what to do with the file's arrays of a tensor for the slots that only `these` have; or nothing."""
    slots = [slot for slot in SLOTS if slot in these and slot not in others]
    return [f"{verb} {', '.join(repr(f'{slot}/{tensor:.80}') for slot in slots)}"] if slots else []


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= LARGEST_INTEGER


def _read_config(document: Mapping[str, Any]) -> Config:
    try:
        return Config.parse(**{key: document[key] for key in SETTINGS if key in document})
    except EngineError as error:
        raise InvalidState(f"the file's settings are not valid: {error}") from None


def _read_entry(name: str, listed: Any, arrays: Mapping[str, Mapping[str, Array]]) -> Entry:
    """Return a tensor's entry in the file's list, checked against the file's arrays."""
    where = f"tensor {name!r:.80} in the file's list"
    if not isinstance(listed, dict):
        raise InvalidState(f"{where} must be an object with shape, dtype and step, not {named(listed)}", tensor=name)
    if missing := [member for member in ("dtype", "step") if member not in listed]:
        raise InvalidState(f"{where} needs {' and '.join(missing)}", tensor=name)
    if not isinstance(listed["dtype"], str) or listed["dtype"] not in DTYPES:
        dtypes = ", ".join(DTYPES)
        raise InvalidState(
            f"{where} has the unknown dtype {named(listed['dtype'])}; expected one of {dtypes}", tensor=name
        )
    if not _is_count(listed["step"]):
        raise InvalidState(
            f"{where}: its step must be a whole number from 0 to {LARGEST_INTEGER}, not {named(listed['step'])}",
            tensor=name,
        )
    slots = tuple(slot for slot in SLOTS if name in arrays[slot])
    entry = Entry(Spec(checked_shape(name, listed.get("shape")), DTYPES[listed["dtype"]]), slots)
    for slot in slots:
        array = arrays[slot][name]
        expected = Spec(entry.shape_of(slot), entry.dtype_of(slot))
        if Spec.of(array) != expected:
            raise InvalidState(
                f"{slot}/{name:.80} is {Spec.of(array)} and should be {expected}",
                tensor=name,
                expected=str(expected),
                got=str(Spec.of(array)),
            )
    return entry
