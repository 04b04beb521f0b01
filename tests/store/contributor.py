"""A process to be killed: it contributes to a session's ledger, closes the round, and prints the number of each.

    python -m tests.store.contributor URL SESSION PIECES

Round r has one contribution, that of `writer.parts_of(r, PIECES)`, and is closed by the save of version r + 1.
"""

import subprocess
import sys

import uvloop

from app.settings import Settings
from app.store import open_store
from tests.reaper import tied
from tests.store.changes import row, saved
from tests.store.ledgers import closing, ledger_saved
from tests.store.writer import ROOT, parts_of


def start(url: str, session_id: str, pieces: int) -> subprocess.Popen[bytes]:
    arguments = [url, session_id, str(pieces)]
    return tied([sys.executable, "-m", "tests.store.contributor", *arguments], stdout=subprocess.PIPE, cwd=ROOT)


async def work(url: str, session_id: str, pieces: int) -> None:
    async with open_store(Settings(store=url)) as store:
        head = await store.load(session_id) or await saved(store, session_id=session_id)
        while True:
            number = head.version
            ledger = await store.ledger(session_id)
            if ledger is None or not ledger.pieces:
                parts = parts_of(number, pieces)
                ledger = await ledger_saved(store, ledger, parts, session_id=session_id, due_at=float(number))
                print(number, flush=True)
            change = closing(head, ledger, [b"%d" % number], row=row(number))
            await store.save(change)
            head = change.head
            print(number, flush=True)


if __name__ == "__main__":
    url, session_id, pieces = sys.argv[1:]
    uvloop.run(work(url, session_id, int(pieces)))
