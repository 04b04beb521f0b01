"""One check of a requirement: its chance, how often it tries, and what it found."""

import json
import os
import random
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
WHOLE = os.environ.get("CHAOS") == "whole"
"""`make chaos`: all that docs/reliability.md tells of. Else the quick version, which is a part of `make test`."""


class Trial:
    """Given by the fixture `trial` to a test marked `@pytest.mark.requirement("R1", …)`. CHAOS_SEED repeats it."""

    def __init__(self, name: str, requirements: Sequence[str]) -> None:
        self.name = name
        self.requirements = requirements
        self.seed = int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(1 << 32))
        self.random = random.Random(self.seed)
        self.tried: Counter[str] = Counter()
        """What was done and seen, in words that the table shows: `trial.tried["kills"] += 1`."""
        self.measured: dict[str, str] = {}
        """Figures with their unit, as the table shows them: `trial.measured["slowest recovery"] = "0.4 s"`."""
        self._started = time.monotonic()
        print(f"\n{self}: CHAOS_SEED={self.seed}")

    def __str__(self) -> str:
        return f"{' '.join(self.requirements)}: {self.name}"

    def times(self, *, quick: int, whole: int) -> int:
        """How often to try."""
        return whole if WHOLE else quick

    def end(self) -> None:
        """It held: say so, and after a whole run keep it for docs/reliability.md."""
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
