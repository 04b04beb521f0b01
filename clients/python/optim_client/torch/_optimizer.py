"""`RemoteOptimizer`: a `torch.optim.Optimizer` whose steps a session takes."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, ClassVar, Self

import torch

from optim_client._client import Client
from optim_client._sessions import Session
from optim_client.documents import SessionInfo
from optim_client.torch import _param_groups
from optim_client.torch._ahead import StepAhead
from optim_client.torch._link import Answer, Link, check_answered_last, found_session, opened
from optim_client.torch._memory import check_dtype
from optim_client.torch._shared_link import SharedLink

Given = Iterable[Any]
"""Parameters as torch takes them: tensors, pairs of name and tensor, or dicts with such under `params`."""


class OptimizerSteps(torch.optim.Optimizer):
    """The steps of a remote optimizer, whose constructor is below."""

    rule: ClassVar[str] = ""
    _step_supports_amp_scaling = True
    _link: Link
    _ahead: StepAhead[Answer] | None = None

    @property
    def session(self) -> Session:
        """Return the session, after the last step."""
        self._settle()
        return self._link.session

    @torch._disable_dynamo  # type: ignore[untyped-decorator]
    def step(self, closure: Callable[[], Any] | None = None, *, wait: bool = True, weight: Any = None) -> Any:
        """Take a step: send the gradients, and put the new parameters into torch's memory.

        Args:
            closure: A function that computes the loss and the gradients anew, and returns the loss.
            wait: False to return at once, with the step under way.
            weight: For a worker, the weight of these gradients in the round, such as the number of tokens; else 1.

        Returns:
            The closure's loss; without `wait`, a `StepAhead`.

        Raises:
            OptimError: The step failed, as `Session.step` does; the parameters are as they were. After an
                `APIConnectionError` call it again with the same gradients: the step is taken once.
            ValueError: A gradient is sparse, and the rule moves rows without a gradient too. Nothing was sent.

        Example:
            loss.backward()
            optimizer.step()
        """
        self._settle()
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        try:
            found_inf = getattr(self, "found_inf", None)
            is_finite = found_inf is None or not float(found_inf)
            scale = getattr(self, "grad_scale", None)
            send = self._link.begin(self.param_groups, loss, scale, weight) if is_finite else dict
            if wait:
                self._link.finish(send())
                return loss
            self._ahead = StepAhead(send, self._link.finish, self._link.named(self.param_groups).values(), loss)
            return self._ahead
        except BaseException:
            self.__dict__.pop("grad_scale", None)  # GradScaler multiplies the next scale by one that it finds
            self.__dict__.pop("found_inf", None)
            raise

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set the gradients to none, or to zeros, as torch does; first wait for a step that is under way.

        Args:
            set_to_none: False to write zeros.

        Raises:
            OptimError: The step that was under way failed.

        Example:
            optimizer.zero_grad()
        """
        self._settle()
        super().zero_grad(set_to_none)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a param group, and its group to the session.

        Args:
            param_group: `params`, and hyperparameters of their own.

        Raises:
            TypeError: A parameter has a dtype that the service does not have.
            ValueError: As torch says, or a flag of its execution is on. In each case the optimizer is as before.
            InvalidSession: A hyperparameter is out of range.

        Example:
            optimizer.add_param_group({"params": head.parameters(), "lr": 0.01})
        """
        self._settle()
        super().add_param_group(param_group)
        try:
            _param_groups.check_flags(self.param_groups[-1])
            for name, param in _param_groups.named(self.param_groups).items():
                check_dtype(name, param)
            if "_link" in self.__dict__:
                self._link.follow(self.param_groups)
        except BaseException:
            self.param_groups.pop()
            raise

    def put_params(self) -> None:
        """Put all parameters into the session, which holds them. A step does that where it notices a change.

        Raises:
            InvalidSession: The session does not hold its parameters.

        Example:
            optimizer.put_params()
        """
        self._settle()
        self._link.put(self._link.named(self.param_groups))

    def __getstate__(self) -> dict[str, Any]:
        self._settle()
        return {**super().__getstate__(), "_link": self._link}

    def _open(self, client: Client | None, session: Session | str | None, worker: str | None) -> None:
        if worker is not None and session is None:
            raise ValueError(
                f"worker {worker!r} needs the session that it shares: make it once, with hold_params=True and "
                "workers={'expected': 4}, and give all workers its id"
            )
        make = Link if worker is None else partial(SharedLink, worker=worker)
        self._link = opened(self.rule, self.param_groups, self.defaults, client, session, make)

    @torch._disable_dynamo  # type: ignore[untyped-decorator]
    def _settle(self) -> None:
        """Wait for a step that is under way. Raises its error, unless that was raised already."""
        if self._ahead is not None and not self._ahead.is_settled:
            self._ahead.result()
        self._ahead = None


class OptimizerStates(OptimizerSteps):
    """The state of a remote optimizer in torch's own format, both ways."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state as torch's own class has it, which takes it by `load_state_dict`.

        Returns:
            `state` and `param_groups`, as torch's, and `session`, the session's document, which torch ignores.

        Raises:
            OptimError: The state cannot be read, or a step that was under way failed.

        Example:
            torch.save(optimizer.state_dict(), path)
        """
        self._settle()
        state, document = self._link.state(self.param_groups)
        self.state.update(state)
        try:
            return {**super().state_dict(), "session": document}
        finally:
            self.state.clear()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Put a state into the session: of torch's own class, or of this one. Moments keep their bits.

        Args:
            state_dict: What `state_dict()` returned. Parameters are not in it: load the model's first.

        Raises:
            ValueError: It is of another optimizer, or of parameters with other names, shapes or dtypes.
            InvalidSession: A hyperparameter is out of range, or needs moments that the session has not kept so far.

        Example:
            optimizer.load_state_dict(torch.load(path))
        """
        self._settle()

        def put(_: Any, given: dict[str, Any]) -> dict[str, Any]:
            groups = self._link.load(given, self.param_groups)
            return {**given, "state": {}, "param_groups": groups}

        last = self.register_load_state_dict_pre_hook(put)  # after the user's own
        try:
            super().load_state_dict(state_dict)
        finally:
            last.remove()


class RemoteOptimizer(OptimizerStates):
    """An optimizer by the name of its rule, such as "lion", whose steps a session takes.

    Args:
        params: Parameters, as torch's optimizers take them; from `model.named_parameters()` with their names.
        rule: The name of the rule: one of `client.optimizers()`.
        client: The client, else `Client()`.
        session: A session to go on with, or its id; its groups become those of the optimizer. Without it a new session
            that holds the parameters.
        worker: The name of this process among those that train the session together. Each has its own, and takes the
            parameters that the session holds.
        hyperparameters: Those of the rule. The others are the session's, or the service's defaults.

    Raises:
        ValueError: The rule is unknown, or the session is of another one or has other tensors.
        InvalidSession: A hyperparameter is unknown or out of range.
        TypeError: A parameter has a dtype that the service does not have.

    Example:
        optimizer = RemoteOptimizer(model.named_parameters(), "lion", lr=1e-4, client=client)
    """

    def __init__(
        self,
        params: Given,
        rule: str,
        *,
        client: Client | None = None,
        session: Session | str | None = None,
        worker: str | None = None,
        **hyperparameters: Any,
    ) -> None:
        found = found_session(client, session)
        service = found.client if found else client or Client()
        defaults = found.info.hyperparameters if found else _defaults(service, rule)
        self.rule = rule  # type: ignore[misc]
        super().__init__(params, {name: _in_torch(x) for name, x in {**defaults, **hyperparameters}.items()})
        self._open(service, found, worker)

    @classmethod
    def resume(cls, client: Client, session: Session | str, params: Given) -> Self:
        """Return an optimizer that goes on with a session after its last acknowledged step.

        Parameters that the session holds are written into torch's memory. If it holds none, they must be those that it
        answered last. Hyperparameters are the session's, except for those that a param group gives itself.
        `optimizer.session.info.step` says how many steps were taken.

        Args:
            client: The client.
            session: The session or its id.
            params: The parameters, with the same names and in the same param groups as before.

        Returns:
            The optimizer.

        Raises:
            SessionNotFound: The session was deleted, or has expired.
            ValueError: The session is of another rule, or its tensors have other names, shapes or dtypes.
            ParamsConflict: The session does not hold its parameters, and these are of another step.

        Example:
            optimizer = RemoteAdamW.resume(client, session_id, model.named_parameters())
        """
        found = client.sessions.get(session.id if isinstance(session, Session) else session)
        rule = () if cls.rule else (found.info.optimizer,)
        optimizer = cls(_restored(found.info, params), *rule, client=client, session=found)
        if found.info.hold_params:
            optimizer._link.read_params(optimizer.param_groups)
        else:
            check_answered_last(found, _param_groups.named(optimizer.param_groups))
        return optimizer


def _defaults(client: Client, rule: str) -> dict[str, Any]:
    """Return the service's defaults of a rule. Raises `ValueError` if it is unknown."""
    rules = client.optimizers()
    if rule not in rules:
        raise ValueError(f"unknown rule {rule!r}; expected one of {', '.join(sorted(rules))}")
    return {name: row["default"] for name, row in rules[rule].hyperparameters.items()}


def _restored(info: SessionInfo, params: Given) -> list[dict[str, Any]]:
    """Return the param groups with the session's hyperparameters, and those of its groups if they are of param groups.

    Raises `ValueError` for another number of groups.
    """
    listed = list(params)
    if listed and not isinstance(listed[0], dict):
        listed = [{"params": listed}]
    groups: list[dict[str, Any]] = [{} for _ in listed]
    if info.groups and all(group["match"] == _param_groups.pattern(i) for i, group in enumerate(info.groups)):
        groups = info.groups
    if len(listed) != len(groups):
        raise ValueError(
            f"session {info.id} has {len(info.groups)} groups, and there are {len(listed)} param groups: each "
            "parameter must be in the group that it was in"
        )
    own = [{**info.hyperparameters, **group} for group in groups]
    kept = [{name: _in_torch(x) for name, x in each.items() if name != "match"} for each in own]
    return [{**before, **group} for before, group in zip(kept, listed, strict=True)]


def _in_torch(value: Any) -> Any:
    """Return a hyperparameter as torch has it: its schedulers take the betas from a tuple."""
    return tuple(value) if isinstance(value, list) else value
