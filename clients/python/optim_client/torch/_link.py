"""The link of an optimizer to its session: opens it, keeps its settings and parameters up to date, and takes steps."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from optim_client._client import Client
from optim_client._gradients import Rows
from optim_client._sessions import Session
from optim_client.documents import SessionInfo
from optim_client.torch import _param_groups
from optim_client.torch._arrays import NAMES, as_tensor
from optim_client.torch._asgd import Late
from optim_client.torch._grads import Gradients, gradients
from optim_client.torch._held import Held
from optim_client.torch._memory import Params, Staging, same_bits
from optim_client.torch._param_groups import ParamGroups, Values
from optim_client.torch._state_dict import read_state, state_of, with_values, write_state

log = logging.getLogger("optim_client")

Answer = Mapping[str, Any]
Send = Callable[[], Answer]


class Link:
    """A session that stands for param groups. Nothing here changes a parameter but `finish` and `read_params`."""

    def __init__(self, session: Session, defaults: Mapping[str, Any], known: Values) -> None:
        self.session = session
        self._defaults = defaults
        self._known = known
        self._staging = Staging()
        self._held = Held(self._staging)
        self._params: Params = {}
        self._late = Late(self.rule)
        self._late.resumed(session, known)

    @property
    def rule(self) -> str:
        """Return the name of the session's rule."""
        return self.session.info.optimizer

    @property
    def holds(self) -> bool:
        """Return whether the session holds the parameters."""
        return self.session.info.hold_params

    def open(self, param_groups: ParamGroups) -> None:
        """Take over a session that fits the param groups: it gets their settings."""
        self.named(param_groups)
        if not has_settings(self.session.info, self._known):
            self.session.update(**self._known)

    def named(self, param_groups: ParamGroups) -> Params:
        """Return the parameters by name. Raises `ValueError` if one has another name than before."""
        params = _param_groups.named(param_groups)
        _param_groups.check_same(self._params, params)
        self._params = {**self._params, **params}
        return params

    def begin(self, param_groups: ParamGroups, loss: Any, grad_scale: Any, weight: Any = None) -> Send:
        """Bring the session up to date; return the function that sends the step, and answers the new parameters."""
        params = self.named(param_groups)
        grads = gradients(params, self.rule, self._known["groups"], self._staging, rows=self.holds)
        if not grads:
            return dict
        beside = {"loss": _recorded(loss), "grad_scale": _param_groups.plain(grad_scale)}
        return self._sending(param_groups, params, grads, beside, _param_groups.plain(weight))

    def _sending(
        self, param_groups: ParamGroups, params: Params, grads: Gradients, beside: dict[str, Any], weight: Any
    ) -> Send:
        if weight is not None:
            raise TypeError("weight is that of a worker's gradients: make the optimizer with worker=")
        wanted, old = self.follow(param_groups), None
        options = {**beside, "overrides": self._late.overrides(self._known, wanted) or None}
        if self.holds:
            if not self._held.knows_any and self.session.info.step:
                self._tell_replaced(params)
            self.put(self._held.changed(params))
        else:
            old = self._staging.arrays({name: params[name] for name in grads})

        def send() -> Answer:
            before = self.session.info.step
            answer: Answer = self.session.step(old, grads, **options)
            if self.session.info.step > before:
                self._late.took(wanted, grads)
            return answer

        return send

    def follow(self, param_groups: ParamGroups) -> Values:
        """Return the settings of these param groups. Changes the session where overrides of a step cannot do it."""
        wanted = _param_groups.settings(self.rule, param_groups, self._defaults)
        if _param_groups.overrides(self._known, wanted) is None:
            if self.rule == "sgd":
                self._reset_momentum(wanted)
            self.session.update(**wanted)
            self._known = wanted
        return wanted

    def state(self, param_groups: ParamGroups) -> tuple[dict[torch.Tensor, Values], Values]:
        """Return the state of each parameter, as torch's own class keeps it, and the session's document."""
        return read_state(self.session, self._late.groups(param_groups))

    def _reset_momentum(self, wanted: Values) -> None:
        """Reset the tensors of SGD's groups that get a momentum, or lose it: their buffers begin anew."""
        pairs = zip(self._known["groups"], wanted["groups"], strict=False)
        changed = {str(i) for i, (old, new) in enumerate(pairs) if bool(old["momentum"]) != bool(new["momentum"])}
        if any(self._known["groups"][int(i)]["momentum"] for i in changed):
            log.warning("a momentum of SGD is 0: its buffer is dropped, and begins anew if the momentum comes back")
        if changed:
            tensors = self.session.get().tensors
            self.session.edit_tensors(reset=[name for name in tensors if name.partition("/")[0] in changed])

    def _tell_replaced(self, params: Params) -> None:
        """Log that parameters which the session has stepped are about to be replaced by others."""
        held = self.session.params()
        here = self._staging.arrays({name: params[name] for name in params if name in held})
        replaced = [name for name in here if not same_bits(here[name], held[name])]
        if replaced:
            log.warning(
                "session %s at step %d holds other parameters, of which %r is one: those in the optimizer replace "
                "them; to go on with the held ones, make the optimizer by resume()",
                self.session.id,
                self.session.info.step,
                replaced[0],
            )

    def put(self, params: Params) -> None:
        """Put these parameters into the session, if there are any."""
        if params:
            arrays = self._staging.arrays(params)
            self.session.put_params(arrays)
            self._held.put(params, arrays)

    def finish(self, answer: Answer) -> None:
        """Write the answered parameters into torch's memory."""
        params = self._params
        rows = {name: new for name, new in answer.items() if isinstance(new, Rows)}
        dense = {name: new for name, new in answer.items() if name not in rows}
        self._staging.write(params, dense)
        for name, new in rows.items():
            _write_rows(params[name], new)
        if self.holds and answer:
            self._held.answered(params, dense)
            self._held.answered_rows(params, rows)

    def load(self, state_dict: Mapping[str, Any], param_groups: ParamGroups) -> list[dict[str, Any]]:
        """Put a state of torch into the session; return its groups as they hold here."""
        saved = state_of(self.session, state_dict, param_groups)
        new = with_values(param_groups, state_dict["param_groups"])
        wanted = self.follow(new)
        write_state(self.session, saved)
        self._late.loaded(state_dict, wanted)
        if self.holds:
            params = self.named(param_groups)
            self._held.put(params, self._staging.arrays(params))
        return new

    def read_params(self, param_groups: ParamGroups) -> None:
        """Write the parameters that the session holds into torch's memory."""
        params = self.named(param_groups)
        held = self._held_params()
        known = {name: held[name] for name in params if name in held}
        self._staging.write(params, known)
        self._held.put({name: params[name] for name in known}, known)

    def _held_params(self) -> Answer:
        answer: Answer = self.session.params()
        return answer


def check_answered_last(session: Session, params: Params) -> None:
    """Raise `ParamsConflict` unless the parameters are those that the session answered last."""
    seen = {name: params[name] for name, tensor in session.info.tensors.items() if tensor.step}
    if seen:
        arrays, said = Staging().arrays(seen), session.info.on_other_params
        session.update(on_other_params="reject")
        try:
            session.preview(arrays, {name: np.zeros_like(array) for name, array in arrays.items()})
        finally:
            session.update(on_other_params=said)  # type: ignore[arg-type]


def found_session(client: Client | None, session: Session | str | None) -> Session | None:
    """Return the session that was given, or whose id was. Raises `TypeError` if the client is none, such as a URL."""
    if not isinstance(client, Client | None):
        raise TypeError(f"client must be a Client, such as Client('http://127.0.0.1:8000'), not {client!r}")
    return (client or Client()).sessions.get(session) if isinstance(session, str) else session


def opened(
    rule: str,
    param_groups: ParamGroups,
    defaults: Mapping[str, Any],
    client: Client | None,
    session: Session | str | None,
    make: "Callable[[Session, Mapping[str, Any], Values], Link]",
) -> Link:
    """Return the link to a new session, or to that one. Raises `ValueError` if the session is for other parameters."""
    wanted = _param_groups.settings(rule, param_groups, defaults)
    found = found_session(client, session)
    if found is None:
        new = (client or Client()).sessions.create(rule, hold_params=True, **wanted)  # type: ignore[arg-type]
        return make(new, defaults, wanted)
    info = found.get()
    params = _param_groups.named(param_groups)
    names = _param_groups.adopted(info.tensors, params)
    check_fits(replace(info, tensors={names.get(name, name): x for name, x in info.tensors.items()}), rule, params)
    if names:
        found.edit_tensors(rename=names)
    link = make(found, defaults, wanted)
    link.open(param_groups)
    return link


def has_settings(info: SessionInfo, wanted: Values) -> bool:
    """Return whether the session has these settings."""
    return all((info.groups if name == "groups" else info.hyperparameters.get(name)) == wanted[name] for name in wanted)


def check_fits(info: SessionInfo, rule: str, params: Params) -> None:
    """Raise `ValueError` unless the session is of that rule, without a schedule, and of tensors like the parameters."""
    where = f"session {info.id}"
    if info.optimizer != rule:
        raise ValueError(f"{where} is of {info.optimizer}, and this optimizer is {rule}")
    if info.schedule is not None:
        raise ValueError(f"{where} has a schedule, and here a torch.optim.lr_scheduler decides: update(schedule=None)")
    for name, tensor in info.tensors.items():
        if name not in params:
            there = ", ".join(list(params)[:3])
            raise ValueError(
                f"{where} has a tensor {name!r}, and no parameter has this name (there are {there}, …): pass the same "
                "named parameters in the same param groups, or rename its tensors by session.edit_tensors"
            )
        ours = (tuple(params[name].shape), NAMES.get(params[name].dtype))
        if ours != (tuple(tensor.shape), tensor.dtype):
            raise ValueError(
                f"{where}: {name!r} has the shape {list(tensor.shape)} and is {tensor.dtype}, and the parameter has "
                f"{list(ours[0])} and is {ours[1]}"
            )


def _recorded(loss: Any) -> float | None:
    """Return what a closure returned as the history has it: nothing, unless it is one number."""
    try:
        value = _param_groups.plain(loss)
    except (ValueError, RuntimeError):  # of several elements
        return None
    return value if isinstance(value, int | float) else None


def _write_rows(param: torch.Tensor, new: Rows) -> None:
    with torch.no_grad():
        indices, values = torch.from_numpy(np.asarray(new.indices)), as_tensor(np.asarray(new.values))
        param.index_copy_(0, indices.to(param.device), values.to(param.device))
