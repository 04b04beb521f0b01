"""The names of keys in Redis, as earlier versions wrote them."""

from app.store import redis_names
from app.store.piece import Piece


def test_a_sessions_keys_share_one_cluster_slot() -> None:
    """Holds because a cluster hashes only the part in braces."""
    makers = (redis_names.head_key, redis_names.history_key, redis_names.keys_key, redis_names.created_key)
    makers = (*makers, redis_names.marks_key, redis_names.thinned_key, redis_names.outline_key)
    assert [make("s") for make in makers] == [
        "optim:{s}:head",
        "optim:{s}:history",
        "optim:{s}:keys",
        "optim:{s}:created",
        "optim:{s}:marks",
        "optim:{s}:thinned",
        "optim:{s}:outline",
    ]
    assert redis_names.piece_keys("s", [Piece("1-t-0", 1, ""), Piece("1-t-1", 1, "")]) == [
        "optim:{s}:piece:1-t-0",
        "optim:{s}:piece:1-t-1",
    ]


def test_a_tenants_keys_have_its_name() -> None:
    assert redis_names.tenant_key("t") == "optim:tenant:t"
    assert redis_names.claims_key("t") == "optim:claims:t"
