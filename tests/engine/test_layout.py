"""The layout of a state: its order, its alignment, and its gaps."""

from itertools import pairwise

from optim_engine import Layout
from optim_engine.layout import SLOTS
from tests.engine.test_state import ENTRIES


def test_everything_stands_aligned_in_order_and_nothing_overlaps() -> None:
    layout = Layout(ENTRIES)
    ranges = [layout.range(tensor, slot) for tensor, slot in layout.offsets]
    assert all(left[1] <= right[0] for left, right in pairwise(ranges))
    assert ranges[-1][1] == layout.nbytes
    assert [slot for slot in SLOTS for tensor in ENTRIES if (tensor, slot) in layout.offsets] == [
        slot for _, slot in layout.offsets
    ]
    for (tensor, slot), start in layout.offsets.items():
        assert start % ENTRIES[tensor].dtype_of(slot).itemsize == 0
    for slot in ("m", "v", "v_max", "params"):
        assert min(start for (_, name), start in layout.offsets.items() if name == slot) % 64 == 0
