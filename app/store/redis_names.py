"""Names of the keys in Redis.

optim:{<session>}:head           string       an envelope
optim:{<session>}:piece:<name>   string       a piece's bytes
optim:{<session>}:history        sorted set   score: the step; member: step and version, 16 digits each, and the row
optim:{<session>}:marks          sorted set   score: the version; member: it, 16 digits, then kind, space and body
optim:{<session>}:thinned        string       how far the history is thinned: the numbers of a `Thinning`
optim:{<session>}:outline        string       the outline of its history
optim:{<session>}:keys           hash         of each key that was used: digest → row, number → time and digest; and
                                              numbers → the first and the last of these
optim:{<session>}:ledger         string       an envelope
optim:{<session>}:created        string       for a day: the session of a claim was created
optim:{<session>}:touched        string       for a second: the replicas were asked for what was written before
optim:claims:<tenant>            hash         digest of a creation's key → claim
optim:tenant:<tenant>            sorted set   the tenant's session ids, all of score 0; some may be gone
optim:tenants                    set          the tenants that ever had a session
optim:due                        sorted set   score: when a ledger is due; member: its session and token; some are gone
optim:format                     string       the format's number
optim:ready                      string       nothing; written to see that it can be
"""

from collections.abc import Iterable

from app.store.piece import Piece

TENANTS = "optim:tenants"
DUE_KEY = "optim:due"
FORMAT_KEY = "optim:format"
READY_KEY = "optim:ready"


def session_key(session_id: str, rest: str) -> str:
    """Return a key of a session. The braces around the id make a cluster keep all its keys together."""
    return f"optim:{{{session_id}}}:{rest}"


def head_key(session_id: str) -> str:
    return session_key(session_id, "head")


def history_key(session_id: str) -> str:
    return session_key(session_id, "history")


def marks_key(session_id: str) -> str:
    return session_key(session_id, "marks")


def thinned_key(session_id: str) -> str:
    return session_key(session_id, "thinned")


def outline_key(session_id: str) -> str:
    return session_key(session_id, "outline")


def keys_key(session_id: str) -> str:
    return session_key(session_id, "keys")


def ledger_key(session_id: str) -> str:
    return session_key(session_id, "ledger")


def created_key(session_id: str) -> str:
    return session_key(session_id, "created")


def touched_key(session_id: str) -> str:
    return session_key(session_id, "touched")


def piece_key(session_id: str, name: str) -> str:
    return session_key(session_id, f"piece:{name}")


def piece_keys(session_id: str, pieces: Iterable[Piece]) -> list[str]:
    return [piece_key(session_id, piece.name) for piece in pieces]


def tenant_key(tenant: str) -> str:
    return f"optim:tenant:{tenant}"


def claims_key(tenant: str) -> str:
    return f"optim:claims:{tenant}"
