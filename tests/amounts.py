"""The amounts of a run: quick in `make test`, whole in `make campaign` and `make chaos`."""

import os

WHOLE = os.environ.get("CHAOS") == "whole"
"""True in `make campaign`, for products and properties, and in `make chaos`, for the checks of requirements."""


def times(*, quick: int, whole: int) -> int:
    """Return the number of tries for a quick or a whole run."""
    return whole if WHOLE else quick
