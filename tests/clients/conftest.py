"""Fixtures: the languages that are proven here, each with a prover for all of its calls.

`LANGUAGES` in the environment names them: `make clients` sets all that can be built. Python needs no toolchain.
"""

import os
from collections.abc import Iterator

import pytest

from tests.clients.conversations import Caller
from tests.clients.languages import LANGUAGES, Language

NAMES = os.environ.get("LANGUAGES", "python").split()


@pytest.fixture(scope="session", params=NAMES)
def language(request: pytest.FixtureRequest) -> Language:
    return LANGUAGES[request.param]


@pytest.fixture(scope="session")
def caller(language: Language) -> Iterator[Caller]:
    with Caller(language) as caller:
        yield caller
