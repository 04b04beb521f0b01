"""The metrics of steps."""

from httpx2 import Client

from app.metrics.sharing import numbers_of
from app.metrics.steps import StepMetrics
from app.web.phases import NAMES
from tests.service.calls import W, create, step, stepped
from tests.service.test_health import sample


def test_a_step_is_counted_in_each_phase() -> None:
    metrics = StepMetrics()
    metrics.count("applied")
    metrics.count_phases([0.001 * i for i in range(6)])
    numbers = numbers_of(metrics.families)
    assert numbers["optim_steps"] == {("applied",): [1], ("skipped",): [0], ("replayed",): [0]}
    phases = numbers["optim_step_phase_seconds"]
    assert [phases[name,][-1] for name in NAMES] == [0.001 * i for i in range(6)]
    assert [sum(phases[name,][:-1]) for name in NAMES] == [1] * 6


def test_answered_steps_alone_have_phases(client: Client) -> None:
    session = create(client)
    stepped(client, session, **W)
    step(client, session, **W, step=9)
    client.get(session)
    assert sample(client, 'optim_step_phase_seconds_count{phase="compute"}') == 1
    assert sample(client, 'optim_step_phase_seconds_sum{phase="compute"}') > 0
