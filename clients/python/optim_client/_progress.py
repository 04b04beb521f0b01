"""A progress bar for a training loop, drawn by tqdm: in a terminal, in a notebook, or as lines of a log."""

import importlib
import itertools
from collections.abc import Iterator
from typing import Any

from optim_client import _arguments
from optim_client._async_sessions import AsyncSession
from optim_client._sessions import Session


def progress(session: Session | AsyncSession, *, total: int | None = None) -> Iterator[int]:
    """Yield the numbers of the steps to take, and show a bar: step, loss, learning rate, norm, speed and skips.

    The numbers go on after the session's last step, so a loop that is started again resumes. A step that the service
    skipped counts, so none comes twice: a batch that is chosen by its number is not tried again. Nothing is asked of
    the service: the bar shows what the steps of this session were answered. It needs tqdm.

    Args:
        session: The session that the loop steps.
        total: The last number; without it, the numbers go on until the loop breaks.

    Returns:
        An iterator over the numbers.

    Raises:
        ImportError: tqdm is not installed.
        TypeError: `total` is no whole number.

    Example:
        for step in progress(session, total=10):
            params = session.step(params, grads, loss=1 / step)
    """
    last = None if total is None else _arguments.whole("total", total)
    return _numbers(session, last, _tqdm())


def _numbers(session: Session | AsyncSession, last: int | None, tqdm: Any) -> Iterator[int]:
    done = _done(session)
    with tqdm(initial=done, total=last, unit=" steps", dynamic_ncols=True) as bar:
        try:
            for number in itertools.count(done + 1) if last is None else range(done + 1, last + 1):
                yield number
                if bar.update(_done(session) - bar.n):  # it was drawn, which is at most ten times a second
                    bar.set_postfix_str(_said(session))
        finally:
            bar.update(_done(session) - bar.n)
            bar.set_postfix_str(_said(session))


def _done(session: Session | AsyncSession) -> int:
    return session.info.step + session.info.skipped_steps


def _said(session: Session | AsyncSession) -> str:
    """Return the last step in words."""
    metrics, skipped = session.metrics, session.info.skipped_steps
    words = [] if session.loss is None else [f"loss {session.loss:.4g}"]
    if metrics is not None:
        words += [f"lr {metrics.lr:.3g}", f"grad norm {metrics.grad_norm:.3g}"]
    return ", ".join([*words, *([f"{skipped} skipped"] if skipped else [])])


def _tqdm() -> Any:
    try:
        return importlib.import_module("tqdm.auto").tqdm
    except ImportError as error:
        raise ImportError(
            f"progress() draws its bar with tqdm, which cannot be imported ({error}): `pip install tqdm`, or install "
            "optim-client with its extra, as in `pip install './clients/python[progress]'`"
        ) from error
