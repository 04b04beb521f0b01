"""The screen of the demo: a progress bar on a terminal, plain lines elsewhere."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from app.demo.training import Point

LINES = 10
"""The number of lines that a whole run prints without a terminal."""


class Display:
    """The progress of one run. Lines of `say` stand above the bar."""

    def __init__(self, console: Console, steps: int) -> None:
        self._console = console
        self._steps = steps
        self._lines = 0
        self._progress = Progress(
            TextColumn("{task.fields[name]:<9}", style="cyan"),
            BarColumn(30),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            console=console,
            disable=not console.is_terminal,
            speed_estimate_period=2,
        )
        self._progress.add_task("", total=steps, name="step")
        self._task = self._progress.tasks[0]

    def say(self, name: str, text: str, style: str = "cyan") -> None:
        """Print one line under a name."""
        self._console.print(Text.assemble((f"{name:<9} ", style), text))

    def show(self, point: Point, accuracy: float) -> None:
        """Show a step, with the accuracy on images that the network does not learn from."""
        self._progress.update(self._task.id, completed=point.step)
        figures = f"loss {point.loss:6.4f}   accuracy {accuracy:5.3f}   {self._task.speed or 0:4.0f} steps/s"
        self._progress.update(self._task.id, description=figures)
        due = point.step * LINES // self._steps
        if due > self._lines and not self._console.is_terminal:
            self._lines = due
            self.say("step", f"{point.step:4}/{self._steps}   {figures}")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._progress.stop()
