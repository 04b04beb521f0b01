"""The link of one of several processes that train one session: its gradients are a worker's contribution to a round.

All begin with the parameters that the session holds. Their param groups must agree, as those of one script do: the
first one that comes to a round with other settings, such as those of a scheduler, brings the session's up to date.
"""

from collections.abc import Mapping
from typing import Any

from optim_client._sessions import Session
from optim_client.errors import PreconditionFailed, WorkersOnly
from optim_client.torch import _param_groups
from optim_client.torch._grads import Gradients
from optim_client.torch._link import Answer, Link, Send, has_settings
from optim_client.torch._memory import Params
from optim_client.torch._param_groups import ParamGroups, Values


class SharedLink(Link):
    """The link of a worker. ASGD's rate follows a change at once here: other workers know no step of this one."""

    def __init__(self, session: Session, defaults: Mapping[str, Any], known: Values, worker: str) -> None:
        super().__init__(session, defaults, known)
        if session.info.workers is None:
            raise ValueError(f"session {session.id} has no workers: session.update(workers={{'expected': 4}})")
        self.worker = session.worker(worker)
        self._agreed: Values | None = None

    def open(self, param_groups: ParamGroups) -> None:
        """Join, with the parameters that the session holds. The first worker puts its own."""
        params = self.named(param_groups)
        while not self.session.get().tensors:
            try:
                self.put(params)
            except (PreconditionFailed, WorkersOnly):  # another one was first
                continue
        self._check_has(params)
        self.worker.join()
        self.read_params(param_groups)

    def _held_params(self) -> Answer:
        answer: Answer = self.worker.params()
        return answer

    def _sending(
        self, param_groups: ParamGroups, params: Params, grads: Gradients, beside: dict[str, Any], weight: Any
    ) -> Send:
        if changed := self._held.changed(params):
            raise ValueError(
                f"parameter {min(changed)!r} was changed since the last step, and all workers train the parameters of "
                "the session: leave them to the optimizer"
            )
        self.follow(param_groups)
        options = beside | ({} if weight is None else {"weight": weight})

        def send() -> Answer:
            answer: Answer = self.worker.contribute(grads, **options)
            return answer if grads.keys() == params.keys() else self._held_params()  # others may have the rest

        return send

    def follow(self, param_groups: ParamGroups) -> Values:
        """Return the settings of these param groups. Brings the session to them, unless a later round is open."""
        self._check_has(_param_groups.named(param_groups))
        wanted = _param_groups.settings(self.rule, param_groups, self._defaults)
        while self._agreed != wanted:
            info = self.session.get()
            if not has_settings(info, wanted):
                if self.worker.step < info.step and (info.workers or {}).get("mode") != "async":
                    break
                try:
                    self.session.update(**wanted)
                except PreconditionFailed:  # another worker did, or the round has closed
                    continue
            self._agreed = wanted
        self._known = wanted
        return wanted

    def _check_has(self, params: Params) -> None:
        """Raise `ValueError` if the session lacks a parameter: it gets no new tensors while it has workers."""
        if missing := sorted(params.keys() - self.session.info.tensors.keys()):
            raise ValueError(
                f"session {self.session.id} has no tensor {missing[0]!r}, and gets none while it has workers: the "
                "first worker's optimizer needs all parameters"
            )

    def __getstate__(self) -> dict[str, Any]:
        raise TypeError("a worker's optimizer cannot be copied: make another one with its session and a worker's name")
