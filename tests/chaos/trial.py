"""A check of a requirement: its random generator, its amounts and its findings."""

import json
import os
import random
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.amounts import WHOLE, times

RESULTS = Path(__file__).parent / "results"


class Trial:
    """A trial, which the fixture `trial` gives to a test marked `@pytest.mark.requirement("R1", …)`.

    `CHAOS_SEED` repeats it.
    """

    def __init__(self, name: str, requirements: Sequence[str]) -> None:
        self.name = name
        self.requirements = requirements
        self.seed = int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(1 << 32))
        self.random = random.Random(self.seed)
        self.tried: Counter[str] = Counter()
        """Counts of actions and outcomes, by the words of the table: `trial.tried["kills"] += 1`."""
        self.measured: dict[str, str] = {}
        """Figures with their unit, as the table shows them: `trial.measured["slowest recovery"] = "0.4 s"`."""
        self._started = time.monotonic()
        print(f"\n{self}: CHAOS_SEED={self.seed}")

    def __str__(self) -> str:
        return f"{' '.join(self.requirements)}: {self.name}"

    def times(self, *, quick: int, whole: int) -> int:
        """Return the number of tries for a quick or a whole run."""
        return times(quick=quick, whole=whole)

    def end(self) -> None:
        """Print the findings of a check that passed, and after a whole run save them for docs/reliability.md."""
        seconds = round(time.monotonic() - self._started, 1)
        print(f"{self}: {dict(self.tried)} {self.measured} in {seconds} s")
        if WHOLE:
            result = {
                "requirements": self.requirements,
                "check": self.name,
                "seed": self.seed,
                "seconds": seconds,
                "tried": dict(self.tried),
                "measured": self.measured,
            }
            path = RESULTS / f"{self.requirements[0]}-{self.name.replace(' ', '-')}.json"
            path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
