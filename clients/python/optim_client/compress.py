"""Top-k compression with error feedback: what a packet of gradients leaves out is added to the next gradients.

Sending a hundredth of the elements costs a hundredth of the bytes, and the run still converges, because nothing is lost
(Stich et al., *Sparsified SGD with memory*, 2018). Rule 1: the residual moves when a packet is acknowledged, not when
it is made. Rule 2: until then the packet is the same, to the bit, also for a process that loads it from a file. So a
trainer that is killed between the sending and the answer sends the same bytes again, and they count once.
"""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from optim_client import _arguments
from optim_client._files import replacing
from optim_client._gradients import TopK
from optim_client._tensors import Arrays, as_array, decode_all, encode
from optim_client._trees import Tree, flattened, rebuilt

__all__ = ["Packet", "TopKFeedback"]

FORMAT = 1
FEEDBACK = "feedback"
"""The name of the file's document in its metadata."""


@dataclass(frozen=True, eq=False)
class Packet:
    """The gradients to send, and the options of their step.

    `grads` has the structure of the gradients, with `TopK` as its leaves. `options` has `step`, and all that was given
    with it.
    """

    grads: Any
    options: Mapping[str, Any]


class TopKFeedback:
    """The residual of a training run: all that its packets have left out so far. For one thread.

    `step` is the number of the last acknowledged step, and `residual` has what is left by then, by the tensor's name:
    in float64 for tensors of float64, else in float32.

    Args:
        fraction: The share of each tensor's elements that a packet has, above 0 and at most 1: the largest by their
            magnitude, at least one.

    Raises:
        TypeError: `fraction` is no number.
        ValueError: `fraction` is out of range.

    Example:
        feedback = TopKFeedback(0.01)
        packet = feedback.packet(grads, held.info.step + 1, loss=0.5)
        params = held.step(grads=packet.grads, **packet.options)
        feedback.acknowledge()
    """

    def __init__(self, fraction: float) -> None:
        self.fraction = _arguments.number("fraction", fraction)
        if not 0 < self.fraction <= 1:
            raise ValueError(f"fraction must be above 0 and at most 1, not {fraction!r}")
        self.step = 0
        self.residual: Arrays = {}
        self._pending: _Pending | None = None

    @property
    def pending(self) -> Packet | None:
        """Return the packet that is not acknowledged yet, its gradients by name; `None` if there is none."""
        return None if self._pending is None else Packet(dict(self._pending.grads), self._pending.options)

    def packet(self, grads: Tree, step: SupportsIndex, **options: Any) -> Packet:
        """Return the largest elements of residual and gradients together, to be sent as that step.

        While a packet of the same step is not acknowledged, it is returned again, whatever the gradients and options.

        Args:
            grads: The gradients, each in the shape and dtype of its parameter. Those that are `None` are left out.
            step: The number of the step.
            options: The step's other options, such as `loss`, or `weight` for a worker: a repetition needs the same.

        Returns:
            The packet, for `session.step(grads=packet.grads, **packet.options)`, or
            `worker.contribute(packet.grads, **packet.options)`.

        Raises:
            TypeError: A gradient is no array of floats, or JSON lacks an option's type.
            ValueError: A packet of another step, or of other tensors, is not acknowledged yet; a tensor has another
                shape than before; or a gradient has a NaN or an infinity. Nothing has changed.

        Example:
            packet = feedback.packet(grads, 1)
        """
        number = _arguments.whole("step", step)
        given = {name: grad for name, grad in flattened("grads", grads).items() if grad is not None}
        if self._pending is None:
            self._pending = _chosen(given, self.residual, self.fraction, {"step": number, **_checked(options)})
        elif (other := self._pending.options["step"]) != number:
            raise ValueError(
                f"the packet of step {other} is not acknowledged yet: send `pending` again, then acknowledge() its "
                f"answer, before step {number}"
            )
        sent = self._pending.grads
        if sent.keys() != given.keys():
            raise ValueError(
                f"the packet of step {number} is not acknowledged yet, and has gradients of {', '.join(sent)}, not of "
                f"{', '.join(given)}: send `pending` again"
            )
        return Packet(rebuilt(grads, lambda name, _: sent.get(name)), self._pending.options)

    def acknowledge(self, applied: bool = True) -> None:
        """Move the residual: the answer to the packet came.

        Args:
            applied: False where the answer says that the packet was not applied, such as a contribution that came too
                late: all of it goes back into the residual, and so into the next packet.

        Raises:
            ValueError: No packet was made since the last acknowledgement.

        Example:
            feedback.packet(grads, 1)
            feedback.acknowledge()
        """
        if self._pending is None:
            raise ValueError("there is no packet to acknowledge: make one with packet(grads, step)")
        after = self._pending.rest if applied else self._pending.whole()
        self.residual = {**self.residual, **after}
        self.step = self._pending.options["step"] if applied else self.step
        self._pending = None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write residual and packet into a file. Before the packet is sent, so that a killed trainer can go on.

        Args:
            path: The file, which is replaced wholly or not at all. It is a safetensors file.

        Raises:
            OSError: The file cannot be written.

        Example:
            feedback.packet(grads, 1)
            feedback.save(path)
        """
        document: dict[str, Any] = {"format": FORMAT, "fraction": self.fraction, "step": self.step}
        floats, others = {"residual": self.residual}, dict[str, Arrays]()
        if self._pending is not None:
            document["pending"] = self._pending.options
            floats |= {"rest": self._pending.rest, "grads": self._pending.values()}
            others["at"] = self._pending.indices()
        with replacing(path) as file:
            file.writelines(encode(floats, {FEEDBACK: json.dumps(document)}, others))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "TopKFeedback":
        """Return the residual and the packet of a file: the run goes on as if its trainer had not been killed.

        Args:
            path: A file of `save`.

        Returns:
            The residual, with `pending` as it was.

        Raises:
            ValueError: It is no file of `save`.
            ImportError: A tensor is bfloat16, which needs ml_dtypes.
            OSError: The file cannot be read.

        Example:
            feedback.save(path)
            feedback = TopKFeedback.load(path)
        """
        arrays, metadata = decode_all(Path(path).read_bytes())
        try:
            document = json.loads(metadata[FEEDBACK])
            if document["format"] != FORMAT:
                raise ValueError(f"it has the format {document['format']!r}; this client reads {FORMAT}")
            loaded = cls(document["fraction"])
            loaded.step, loaded.residual = document["step"], _of("residual", arrays)
            if "pending" in document:
                at, values = _of("at", arrays), _of("grads", arrays)
                sent = {name: TopK(at[name], values[name]) for name in values}
                loaded._pending = _Pending(sent, _of("rest", arrays), document["pending"])
                _arguments.whole("step", document["pending"]["step"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{os.fspath(path)!r} is no file of TopKFeedback.save: {error!r}") from error
        return loaded


@dataclass(frozen=True, eq=False)
class _Pending:
    """A packet by name, what it leaves of residual and gradients, and its options."""

    grads: Mapping[str, TopK]
    rest: Arrays
    options: Mapping[str, Any]

    def values(self) -> Arrays:
        return {name: np.asarray(sent.values) for name, sent in self.grads.items()}

    def indices(self) -> Arrays:
        return {name: np.asarray(sent.indices) for name, sent in self.grads.items()}

    def whole(self) -> Arrays:
        """Return the sum of residual and gradients, as it was before the packet was taken out of it."""
        at, values = self.indices(), self.values()
        sums = {name: rest.copy() for name, rest in self.rest.items()}
        for name, total in sums.items():
            total.reshape(-1)[at[name]] += values[name]
        return sums


def _chosen(
    grads: Mapping[str, Any], residual: Mapping[str, NDArray[Any]], fraction: float, options: Mapping[str, Any]
) -> _Pending:
    """Return the packet of the gradients. Raises `TypeError` and `ValueError`."""
    sent, rest = dict[str, TopK](), Arrays()
    for name, given in grads.items():
        sent[name], rest[name] = _split(name, as_array("grads", name, given), residual.get(name), fraction)
    return _Pending(sent, rest, options)


def _split(name: str, g: NDArray[Any], residual: NDArray[Any] | None, fraction: float) -> tuple[TopK, NDArray[Any]]:
    """Return the elements of residual and gradient that are sent, and the others. Raises `ValueError`."""
    rest = g.astype(np.float64 if g.dtype == np.float64 else np.float32)
    if residual is not None:
        if residual.shape != g.shape:
            raise ValueError(f"grads[{name!r}] has the shape {list(g.shape)}; before it had {list(residual.shape)}")
        np.add(rest, residual, out=rest)
    flat = rest.reshape(-1)
    at = _largest(flat, math.ceil(fraction * flat.size))
    values = flat[at].astype(g.dtype)
    wrong = at[~np.isfinite(values.astype(flat.dtype))]  # a NaN counts as the largest
    if wrong.size:
        raise ValueError(
            f"grads[{name!r}], element {wrong[0]} of the flat tensor, is {g.reshape(-1)[wrong[0]]}, and "
            f"{flat[wrong[0]]} with its residual, which no packet of {g.dtype} can hold: leave the tensor out"
        )
    flat[at] = flat[at] - values  # what the gradient's dtype cannot hold stays
    return TopK(at, values), rest


def _largest(flat: NDArray[Any], k: int) -> NDArray[np.int64]:
    """Return the indices of the k elements of the largest magnitude, increasing."""
    if k >= flat.size:
        return np.arange(flat.size, dtype=np.int64)
    return np.sort(np.argpartition(np.abs(flat), -k)[-k:]).astype(np.int64, copy=False)


def _checked(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options as JSON has them; a loss may be NaN or infinite. Raises `TypeError` and `ValueError`."""
    return {name: _as_json(name, value) for name, value in options.items()}


def _as_json(name: str, value: Any) -> Any:
    if hasattr(value, "__float__") and not isinstance(value, int | np.integer | np.bool_):
        return _arguments.number(name, value)
    return _arguments.as_json(name, value)


def _of(kind: str, arrays: Arrays) -> Arrays:
    """Return the arrays of one kind, by the rest of their names."""
    return {name.removeprefix(f"{kind}/"): array for name, array in arrays.items() if name.startswith(f"{kind}/")}
