"""The calls that the clients of a check had to send again."""

import re

import pytest

from tests.chaos.trial import Trial

MENDED = re.compile(r": answered, ([\d.]+) s after the first failure")


def tell_retries(trial: Trial, caplog: pytest.LogCaptureFixture) -> None:
    """Add to a trial how many calls failed and were mended, and how long the longest took."""
    seconds = [float(found[1]) for message in caplog.messages if (found := MENDED.search(message))]
    trial.tried["calls sent again"] += len(seconds)
    if seconds:
        trial.measured["longest until answered"] = f"{max(seconds):.1f} s"
