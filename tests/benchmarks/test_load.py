"""The load generator: it counts whole answers, and only successes."""

import pytest

from benchmarks.bare_client import StepRequest
from benchmarks.load import Load
from benchmarks.peers.canned import canned
from benchmarks.peers.echo import PATH, echo
from benchmarks.peers.service import SAFETENSORS, Service, body_of
from tests.benchmarks.test_peers import GRADS, START


def requests(path: str, count: int = 8) -> list[StepRequest]:
    return [StepRequest(path, SAFETENSORS, body_of(GRADS)) for _ in range(count)]


@pytest.mark.long
def test_every_session_takes_a_step_an_answer(service: Service) -> None:
    with service.step_requests(8, START, GRADS) as steps, Load([service.port], steps) as load:
        assert load.run(0.1) > 0
        assert min(load.answers) > 0
        service.check_steps(steps, load.answers)
        with pytest.raises(RuntimeError, match=r"was answered \d+ times and has taken \d+ steps"):
            service.check_steps(steps, [count + 1 for count in load.answers])


@pytest.mark.long
def test_a_rate_counts_the_answers_of_its_run() -> None:
    with echo() as port, Load([port], requests(PATH)) as load:
        first = load.run(0.2)
        before = sum(load.answers)
        second = load.run(0.2)
        assert 0 < second * 0.2 <= sum(load.answers) - before
        assert 0 < first * 0.2 <= before


@pytest.mark.long
def test_a_refusal_raises_an_error(service: Service) -> None:
    none = requests("/v1/sessions/none/steps")
    with Load([service.port], none) as load, pytest.raises(RuntimeError, match="session_not_found"):
        load.run(0.1)


def test_the_least_server_answers_each_request() -> None:
    sent = requests(PATH)
    with canned(len(sent[0].head)) as port, Load([port], sent) as load:
        load.run(0.1)
        assert min(load.answers) > 0


@pytest.mark.long
def test_a_server_that_goes_is_an_error(service: Service) -> None:
    with Load([service.port], requests("/livez", 1)) as load:
        service.kill()
        with pytest.raises(OSError, match=r"closed|reset|Broken pipe"):
            load.run(0.1)
