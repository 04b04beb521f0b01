"""PyTorch's optimizers behind the service: a training loop changes one line, the optimizer's constructor.

    optimizer = RemoteAdamW(model.named_parameters(), lr=1e-3, client=Client("http://127.0.0.1:8000"))

**Parameters** stay torch's memory. Contiguous gradients on the CPU are sent from where they lie; others are copied
once, those of an accelerator through pinned memory. New parameters are copied from the client's buffers into torch's
memory, so that views, tied parameters and shared memory keep their meaning. (It takes 3 ms for 10 million.)

**Names.** A parameter is the session's tensor `<param group>/<name>`, such as `0/fc.weight`, with the name of
`named_parameters()`; without names it is its number, as in `state_dict()`. Each param group is the session's group of
that number, with the pattern `0/*`: so a name needs no escaping, and a group that `add_param_group` adds is one more
group (a PATCH). All that torch decides is in these groups: the service's rule of no decay for biases does not apply.

**Values of one step.** Before each step the hyperparameters in `param_groups` are compared with those of the session's
groups. Numbers that differ travel as `overrides` of that step, so a scheduler's learning rate is used as the float that
it is. A flag, or a momentum that becomes zero or ceases to be, may need other moments, and changes the session (PATCH).

**The session holds the parameters** unless it was made otherwise. So a step sends gradients alone, and after a crash of
the trainer `resume` has parameters and moments of the last acknowledged step. But code may write into parameters
between two steps, also unseen by torch (`p.data.clamp_()`). So before a step the parameters are compared, bit by bit,
with those that were answered, and changed ones are put into the session. (On an accelerator torch's version counter is
compared: after a write through `.data` there, call `put_params()`.) In a session without `hold_params` parameters are
sent with each step, and `resume` checks that they are those that the session answered last.

**A step that runs ahead.** `step(wait=False)` sends the gradients in a thread and returns a `StepAhead`. Nothing is
written into parameters meanwhile: its `result()`, the optimizer's next call, or the first forward pass of a module with
one of the parameters waits for the answer and puts it in place, or raises the step's error.

**Execution flags** (`foreach`, `fused`, `capturable`, `differentiable`) say how torch computes; switched on, they are
refused. `GradScaler` works as with a fused optimizer: the service divides by the scale, and a step with infinities is
not sent.
"""

from optim_client.torch._ahead import StepAhead
from optim_client.torch._files import export_torch, import_torch
from optim_client.torch._optimizer import RemoteOptimizer
from optim_client.torch._order import by_name
from optim_client.torch._rules import (
    RemoteAdadelta,
    RemoteAdafactor,
    RemoteAdagrad,
    RemoteAdam,
    RemoteAdamax,
    RemoteAdamW,
    RemoteASGD,
    RemoteMuon,
    RemoteNAdam,
    RemoteRAdam,
    RemoteRMSprop,
    RemoteRprop,
    RemoteSGD,
)
from optim_client.torch._states import from_torch, settings_of, to_torch

__all__ = [
    "RemoteASGD",
    "RemoteAdadelta",
    "RemoteAdafactor",
    "RemoteAdagrad",
    "RemoteAdam",
    "RemoteAdamW",
    "RemoteAdamax",
    "RemoteMuon",
    "RemoteNAdam",
    "RemoteOptimizer",
    "RemoteRAdam",
    "RemoteRMSprop",
    "RemoteRprop",
    "RemoteSGD",
    "StepAhead",
    "by_name",
    "export_torch",
    "from_torch",
    "import_torch",
    "settings_of",
    "to_torch",
]
