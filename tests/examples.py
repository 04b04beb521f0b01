"""The number of examples of a property, in a quick and in a whole run."""

import hypothesis

from tests.amounts import times


def examples(*, quick: int, whole: int) -> hypothesis.settings:
    """Give a property its number of examples."""
    return hypothesis.settings(max_examples=times(quick=quick, whole=whole), deadline=None)
