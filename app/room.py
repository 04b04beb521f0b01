"""The room that a session has to grow: its own state file can be put back under the same settings. Knows no HTTP.

A limit holds for what makes a session grow. One that is beyond it already, for the setting was another one, goes on.
"""

from dataclasses import dataclass

import orjson

from app.errors import StepConflict, TensorMismatch
from app.session import Session
from optim_engine import Layout
from optim_engine.fields import LARGEST_INTEGER

HEADER_BYTES = 100_000_000
"""The longest header that a safetensors file may have."""
SETTINGS_BYTES = 8 << 20
"""What of it may be taken by settings, labels and warnings, which have limits of their own."""
BESIDE_NAME_BYTES = 160
"""What stands at most in a header beside a tensor's name and shape."""

NOTHING = Layout({})


@dataclass(frozen=True, slots=True)
class Room:
    """The most tensors of one session, and the most bytes of a state file: without its header, and with it."""

    max_tensors: int
    max_bytes: int
    max_file_bytes: int

    def check(self, before: Session | None, after: Session) -> None:
        """Raise `TensorMismatch` where there are too many tensors, or too large ones, and `StepConflict` where there
        are more steps than can be counted."""
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
        if len(new.entries) > max(self.max_tensors, len(old.entries)):
            raise TensorMismatch(
                f"with tensor {added!r} the session would have {len(new.entries)} tensors, and may have "
                f"{self.max_tensors}: remove some (PATCH …/tensors), or raise OPTIM_MAX_TENSORS",
                tensor=added,
            )
        if new.nbytes > max(self.max_bytes, old.nbytes):
            raise TensorMismatch(
                f"the session's state would have {new.nbytes} bytes, and could not be uploaded again where a body may "
                f"have {self.max_bytes}: use several sessions, or raise OPTIM_MAX_BODY_BYTES",
                tensor=added,
            )
        self._check_file(old, new, added)

    def _check_file(self, old: Layout, new: Layout, added: str) -> None:
        header, before = header_bytes(new), header_bytes(old)
        room = HEADER_BYTES - SETTINGS_BYTES
        if header > max(room, before):
            raise TensorMismatch(
                f"the tensors' names would take {header} bytes of a state file's header, which may have {room}: use "
                "shorter names, or fewer tensors",
                tensor=added,
            )
        room = self.max_file_bytes - min(SETTINGS_BYTES, self.max_file_bytes // 8)
        if new.nbytes + header > max(room, old.nbytes + before):
            raise TensorMismatch(
                f"the session's state file would have {new.nbytes + header} bytes, and could not be uploaded again "
                f"where bodies may have {room} in all: use several sessions, or raise OPTIM_MAX_WAITING_BYTES",
                tensor=added,
            )


def header_bytes(layout: Layout) -> int:
    """Return the most that the tensors take of a state file's header.

    A name stands there once for each slot; and in the session, which is JSON within JSON, so that what is escaped in it
    is escaped again.
    """
    names = (len(orjson.dumps(name)) for name in layout.entries)
    return sum(
        (len(entry.slots) + 2) * (name + 16 * len(entry.spec.shape) + BESIDE_NAME_BYTES)
        for name, entry in zip(names, layout.entries.values(), strict=True)
    )
