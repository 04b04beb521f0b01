"""The session as a value."""

import pytest

from app.errors import InvalidSession
from app.session import Session
from app.step import KeptAnswer
from optim_engine import Config


def session(**settings: object) -> Session:
    return Session("id", "tenant", Config.parse("adam"), 1.5, 2.5).after(**settings)


def answer(step: int) -> KeptAnswer:
    return KeptAnswer(step=step, key=None, body="", lr=None, metrics={}, digest="", params_digest=None, warnings=())


def test_a_session_expires_after_its_last_change() -> None:
    assert session(ttl_seconds=60.0).expires_at == 62.5
    assert session().expires_at is None


def test_a_skipped_step_leaves_the_applied_answer_known() -> None:
    applied = session().with_answer(answer(1), skipped=False)
    skipped = applied.with_answer(answer(1), skipped=True)
    assert (skipped.applied, skipped.skipped) == (applied.applied, answer(1))
    assert skipped.with_answer(answer(2), skipped=False).skipped is None


def test_a_session_without_parameters_refuses_to_show_them() -> None:
    with pytest.raises(InvalidSession, match="create it with `hold_params` true"):
        session().check_holds()
