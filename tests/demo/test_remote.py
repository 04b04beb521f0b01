"""The run through the service: its session, and its points."""

from optim_client import Client

from app.demo.remote import DAY, RemoteRun
from app.demo.training import Point, schedule

STEPS = 30


def test_a_run_goes_on_from_its_last_step() -> None:
    shown: list[tuple[Point, float]] = []
    with Client("memory:") as client:
        run = RemoteRun(client, STEPS, lambda point, accuracy: shown.append((point, accuracy)))
        run.until(12)
        run.until(STEPS)
        assert run.session.get().step == STEPS
    assert [point.step for point in run.points] == [*range(1, STEPS + 1)]
    assert [point.step for point, _ in shown] == [10, 20, 30]
    assert all(0 <= accuracy <= 1 for _, accuracy in shown)


def test_a_runs_session_expires_after_a_day() -> None:
    with Client("memory:") as client:
        info = RemoteRun(client, STEPS, lambda *_: None).session.info
    assert (info.ttl_seconds, info.labels) == (DAY, {"by": "demo"})
    assert info.schedule is not None
    assert info.schedule.items() >= schedule(STEPS).items()
