"""The limits of one session's growth: its own state file can be uploaded again. Knows no HTTP.

A limit refuses only what makes a session grow: one that is beyond it, because the setting was lowered, goes on.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import orjson

from app.errors import StepConflict, TensorMismatch
from app.session import Session
from optim_engine import Layout
from optim_engine.fields import LARGEST_INTEGER

HEADER_BYTES = 100_000_000
"""The longest header that a safetensors file may have."""
SETTINGS_BYTES = 8 << 20
"""The part of it that is left for settings, labels and warnings, which have limits of their own."""
BESIDE_NAME_BYTES = 160
"""The most that a header has for a tensor besides its name and shape."""

NOTHING = Layout({})


@dataclass(frozen=True, slots=True)
class Room:
    """The most tensors of one session, and the most bytes of a state file: without its header, and with it."""

    max_tensors: int
    max_bytes: int
    max_file_bytes: int

    def check_names(self, known: Layout, names: Iterable[str]) -> None:
        """Raise `TensorMismatch` where tensors of these names would be too many with the known ones.

        To be called before a step is computed: it costs a look at each name.
        """
        added = [name for name in names if name not in known.entries]
        if added:
            self._check_count(len(known.entries) + len(added), len(known.entries), added[0])

    def check(self, before: Session | None, after: Session) -> None:
        """Raise `TensorMismatch` for too many or too large tensors, `StepConflict` for more steps than are counted."""
        if max(after.step, after.skipped_steps) > LARGEST_INTEGER:
            raise StepConflict(
                f"the session has taken {LARGEST_INTEGER} steps, and more are not counted; create another one",
                current_step=LARGEST_INTEGER,
            )
        old, new = before.layout if before else NOTHING, after.layout
        if new is not old:
            self._check_layout(old, new)
            after.config.groups_of(new.entries)

    def _check_layout(self, old: Layout, new: Layout) -> None:
        added = next((name for name in new.entries if name not in old.entries), "")
        self._check_count(len(new.entries), len(old.entries), added)
        if new.nbytes > max(self.max_bytes, old.nbytes):
            raise TensorMismatch(
                f"the session's state would have {new.nbytes} bytes, and could not be uploaded again where a body may "
                f"have {self.max_bytes}: use several sessions, or raise OPTIM_MAX_BODY_BYTES",
                tensor=added or None,
            )
        self._check_file(old, new, added)

    def _check_count(self, count: int, before: int, added: str) -> None:
        if count > max(self.max_tensors, before):
            raise TensorMismatch(
                f"with tensor {added!r} the session would have {count} tensors, and may have {self.max_tensors}: "
                "remove some (PATCH …/tensors), or raise OPTIM_MAX_TENSORS",
                tensor=added or None,
            )

    def _check_file(self, old: Layout, new: Layout, added: str) -> None:
        header, before = header_bytes(new), header_bytes(old)
        room = HEADER_BYTES - SETTINGS_BYTES
        if header > max(room, before):
            raise TensorMismatch(
                f"the tensors' names would take {header} bytes of a state file's header, which may have {room}: use "
                "shorter names, or fewer tensors",
                tensor=added or None,
            )
        room = self.max_file_bytes - min(SETTINGS_BYTES, self.max_file_bytes // 8)
        if new.nbytes + header > max(room, old.nbytes + before):
            raise TensorMismatch(
                f"the session's state file would have {new.nbytes + header} bytes, and could not be uploaded again "
                f"where bodies may have {room} in all: use several sessions, or raise OPTIM_MAX_WAITING_BYTES",
                tensor=added or None,
            )


def header_bytes(layout: Layout) -> int:
    """Return the most bytes that the tensors take of a state file's header.

    A name is there once for each slot, and once in the session, which is JSON within JSON: escapes are escaped again.
    """
    names = (len(orjson.dumps(name)) for name in layout.entries)
    return sum(
        (len(entry.slots) + 2) * (name + 16 * len(entry.spec.shape) + BESIDE_NAME_BYTES)
        for name, entry in zip(names, layout.entries.values(), strict=True)
    )
