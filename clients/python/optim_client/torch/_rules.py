"""A class for each rule that torch has: a subclass of torch's own, with its constructor, defaults and checks."""

import inspect
from typing import Any, ClassVar

import torch

from optim_client._client import Client
from optim_client._sessions import Session
from optim_client.torch._optimizer import Given, RemoteOptimizer


class TorchRule(RemoteOptimizer):
    """The base of the classes below. `local` is torch's class, which reads and checks the arguments.

    `client`, `session` and `worker` are as for `RemoteOptimizer`; all others are torch's.
    """

    local: ClassVar[type[torch.optim.Optimizer]]

    def __init_subclass__(cls, **given: Any) -> None:
        super().__init_subclass__(**given)
        rows = inspect.signature(cls.local).parameters.values()
        beside = inspect.signature(TorchRule.__init__).parameters
        cls.__signature__ = inspect.Signature([*rows, *(beside[name] for name in ("client", "session", "worker"))])

    def __init__(
        self,
        params: Given,
        *given: Any,
        client: Client | None = None,
        session: Session | str | None = None,
        worker: str | None = None,
        **named: Any,
    ) -> None:
        self.local.__init__(self, params, *given, **named)
        self.state.clear()  # Adagrad's sums: the service has them
        self._open(client, session, worker)


class RemoteAdamW(TorchRule, torch.optim.AdamW):
    """`torch.optim.AdamW`, whose steps a session takes.

    Example:
        optimizer = RemoteAdamW(model.named_parameters(), lr=1e-3, weight_decay=0.1, client=client)
    """

    rule, local = "adamw", torch.optim.AdamW


class RemoteAdam(TorchRule, torch.optim.Adam):
    """`torch.optim.Adam`, whose steps a session takes.

    Example:
        optimizer = RemoteAdam(model.named_parameters(), lr=1e-3, amsgrad=True, client=client)
    """

    rule, local = "adam", torch.optim.Adam


class RemoteSGD(TorchRule, torch.optim.SGD):
    """`torch.optim.SGD`, whose steps a session takes.

    Example:
        optimizer = RemoteSGD(model.named_parameters(), lr=0.1, momentum=0.9, nesterov=True, client=client)
    """

    rule, local = "sgd", torch.optim.SGD


class RemoteRMSprop(TorchRule, torch.optim.RMSprop):
    """`torch.optim.RMSprop`, whose steps a session takes.

    Example:
        optimizer = RemoteRMSprop(model.named_parameters(), lr=1e-3, centered=True, client=client)
    """

    rule, local = "rmsprop", torch.optim.RMSprop


class RemoteNAdam(TorchRule, torch.optim.NAdam):
    """`torch.optim.NAdam`, whose steps a session takes.

    Example:
        optimizer = RemoteNAdam(model.named_parameters(), lr=2e-3, client=client)
    """

    rule, local = "nadam", torch.optim.NAdam


class RemoteRAdam(TorchRule, torch.optim.RAdam):
    """`torch.optim.RAdam`, whose steps a session takes.

    Example:
        optimizer = RemoteRAdam(model.named_parameters(), lr=1e-3, client=client)
    """

    rule, local = "radam", torch.optim.RAdam


class RemoteAdamax(TorchRule, torch.optim.Adamax):
    """`torch.optim.Adamax`, whose steps a session takes.

    Example:
        optimizer = RemoteAdamax(model.named_parameters(), lr=2e-3, client=client)
    """

    rule, local = "adamax", torch.optim.Adamax


class RemoteAdagrad(TorchRule, torch.optim.Adagrad):
    """`torch.optim.Adagrad`, whose steps a session takes.

    Example:
        optimizer = RemoteAdagrad(model.named_parameters(), lr=0.01, client=client)
    """

    rule, local = "adagrad", torch.optim.Adagrad


class RemoteAdadelta(TorchRule, torch.optim.Adadelta):
    """`torch.optim.Adadelta`, whose steps a session takes.

    Example:
        optimizer = RemoteAdadelta(model.named_parameters(), rho=0.9, client=client)
    """

    rule, local = "adadelta", torch.optim.Adadelta


class RemoteRprop(TorchRule, torch.optim.Rprop):
    """`torch.optim.Rprop`, whose steps a session takes.

    Example:
        optimizer = RemoteRprop(model.named_parameters(), etas=(0.5, 1.2), client=client)
    """

    rule, local = "rprop", torch.optim.Rprop


class RemoteASGD(TorchRule, torch.optim.ASGD):
    """`torch.optim.ASGD`, whose steps a session takes.

    As in torch, the rate follows a change of the learning rate one step later.

    Example:
        optimizer = RemoteASGD(model.named_parameters(), lr=0.01, t0=1000, client=client)
    """

    rule, local = "asgd", torch.optim.ASGD


class RemoteAdafactor(TorchRule, torch.optim.Adafactor):
    """`torch.optim.Adafactor`, whose steps a session takes.

    Example:
        optimizer = RemoteAdafactor(model.named_parameters(), lr=0.01, client=client)
    """

    rule, local = "adafactor", torch.optim.Adafactor


class RemoteMuon(TorchRule, torch.optim.Muon):
    """`torch.optim.Muon`, whose steps a session takes.

    It takes matrices alone. Its iteration is in float32 here, and in bfloat16 in torch: parameters are about 1 % apart.

    Example:
        optimizer = RemoteMuon(matrices, lr=0.02, client=client)
    """

    rule, local = "muon", torch.optim.Muon
