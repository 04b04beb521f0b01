"""The roles of API keys. `tests/service/test_who_may_what.py` asks every route with each."""

from app.roles import Role


def test_each_role_includes_those_before_it() -> None:
    assert [role.name for role in sorted(Role)] == ["read", "write", "admin"]
