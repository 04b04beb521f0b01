"""The engine's runs have the bits that are kept: on this processor, by each kernel."""

import pytest

from optim_engine.machine import Machine
from tests.engine.cases import ALL, DTYPES, Case, each_case, each_machine
from tests.golden.bits import digest_of, kept


def test_each_case_has_its_digests() -> None:
    assert {name: set(digests) for name, digests in kept().items()} == {case.name: set(DTYPES) for case in ALL}


@pytest.mark.parametrize("dtype", DTYPES)
@each_machine
@each_case
def test_a_run_has_the_bits_that_are_kept(case: Case, machine: Machine, dtype: str) -> None:
    assert digest_of(case, dtype, machine) == kept()[case.name][dtype]
