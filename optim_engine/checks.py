"""What a step's tensors must be before anything is computed: refusals name the tensor, what it was and what it is."""

from optim_engine.arrays import COMPUTE_DTYPES, Array, Arrays
from optim_engine.config import Config
from optim_engine.errors import TensorMismatch
from optim_engine.state import Spec, State


def check_gradients(state: State, grads: Arrays) -> None:
    """Raise `TensorMismatch` for a step without gradients, or one that differs from what the state knows."""
    if not grads:
        raise TensorMismatch("", "a step needs at least one gradient")
    for tensor, g in grads.items():
        check_dtype(tensor, g)
        if tensor in state.entries:
            state.entries[tensor].spec.check(tensor, Spec.of(g), "the gradient")


def check_params(config: Config, state: State, params: Arrays, grads: Arrays) -> dict[str, Array]:
    """The parameters of the step's tensors, from the request or, where it holds them, from the state."""
    for tensor, θ in params.items():
        check_dtype(tensor, θ)
        if tensor not in grads:
            raise TensorMismatch(tensor, "has a parameter and no gradient; leave it out, or send its gradient")
    before = {}
    for tensor, g in grads.items():
        entry = state.entries.get(tensor)
        if entry is not None and "params" in entry.slots:
            if tensor in params:
                raise TensorMismatch(tensor, "the session holds this parameter: send its gradient alone, or PUT params")
            before[tensor] = state.array(tensor, "params")
        elif tensor in params:
            before[tensor] = params[tensor]
        else:
            where = "the session does not hold it yet" if config.hold_params else "the session holds no parameters"
            raise TensorMismatch(tensor, f"has a gradient and no parameter, and {where}")
        Spec.of(before[tensor]).check(tensor, Spec.of(g), "the gradient")
    return before


def check_dtype(tensor: str, array: Array) -> None:
    """Raise `TensorMismatch` for a dtype that the engine does not compute with."""
    if array.dtype.name not in COMPUTE_DTYPES or not array.dtype.isnative:
        supported = ", ".join(COMPUTE_DTYPES)
        raise TensorMismatch(
            tensor, f"has dtype {array.dtype.str}; there is {supported}", expected=supported, got=array.dtype.name
        )
