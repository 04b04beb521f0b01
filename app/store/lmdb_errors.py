"""The service's errors for those of LMDB and of its files, and the ways out of them."""

import errno
from pathlib import Path

import lmdb

from app.errors import ServiceError, StateDamaged, StoreUnavailable

ANOTHER = "name another folder: OPTIM_STORE=lmdb:PATH"
NO_RIGHT = f"Let this user write there, or {ANOTHER}"
NO_ROOM = f"Make room on that disk, or {ANOTHER}"
FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
WAYS_OUT = {
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), NO_RIGHT),
    **dict.fromkeys(FULL_DISK, NO_ROOM),
    **dict.fromkeys((errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG), ANOTHER[0].upper() + ANOTHER[1:]),
}
"""The ways out where the files cannot be opened, by the number of the error."""


def unopened(error: OSError | lmdb.Error, folder: Path) -> StoreUnavailable:
    """Return the error for files that cannot be opened."""
    number = error.errno if isinstance(error, OSError) else error.code
    failure = StoreUnavailable(f"cannot open the store in {folder}: {error}")
    if number in WAYS_OUT:
        failure.add_note(WAYS_OUT[number])
    return failure


def translated(error: lmdb.Error, folder: Path) -> ServiceError:
    """Return the service's error for one of LMDB's."""
    where = f"the store in {folder}"
    match error:
        case lmdb.CorruptedError() | lmdb.PageNotFoundError():
            return StateDamaged(f"{where} is damaged ({error}): restore it from a backup")
        case lmdb.MapFullError():
            return StoreUnavailable(f"{where} is full: delete sessions or raise OPTIM_LMDB_MAP_BYTES")
        case lmdb.Error(code=code) if code in FULL_DISK:
            failure = StoreUnavailable(f"{where} cannot be written; is its disk full? {error}")
            failure.add_note(NO_ROOM)
            return failure
        case lmdb.PanicError():
            return StoreUnavailable(f"{where} failed to write its last page; restart the service: {error}")
        case _:
            return StoreUnavailable(f"{where} failed: {error}")
