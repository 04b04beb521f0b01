"""Checksums of numbers are the same however the arrays are taken together."""

import numpy as np
import pytest

from app import checksums
from app.checksums import checksums_of, number_checksums_of


@pytest.mark.parametrize("joined", [1, 10, 25, 1 << 18])
def test_numbers_have_one_checksum_in_any_company(joined: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    arrays = {f"w{i}": rng.standard_normal(i).astype(np.float32) for i in range(40)}
    arrays["scalar"] = np.array(2.5)
    for name in ("w7", "w30"):
        arrays[name][3] = 0.0
    expected = checksums_of(arrays)
    for name in ("w7", "w30"):
        arrays[name][3] = -0.0
    monkeypatch.setattr(checksums, "LARGEST_JOINED", joined)
    assert number_checksums_of(arrays) == expected
    assert [*number_checksums_of(arrays)] == [*arrays]
