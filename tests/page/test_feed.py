"""Updates of a session's page: by its stream, and without one."""

from optim_client import Client
from playwright.sync_api import Page, expect

from tests.durability.processes import ServerProcess
from tests.page.conftest import trained
from tests.page.test_session import opened
from tests.page.training import table, training, waited


def test_a_killed_server_leaves_no_gap(page: Page, service: ServerProcess, client: Client) -> None:
    session = client.sessions.create("adamw", lr=0.05)
    with training(session) as run:
        opened(page, service, session.id)
        expect(page.locator(".pill")).to_have_text("● live")
        for least in (30, 60):
            waited(page, lambda least=least: table(page)[0][-1] >= least)  # type: ignore[misc]
            service.kill()
            expect(page.locator(".pill")).to_have_text("◌ reconnecting")
            service.start()
            expect(page.locator(".pill")).to_have_text("● live")
        waited(page, lambda: table(page)[0][-1] >= 90)
        run.stop()
    history = session.history()
    waited(page, lambda: table(page)[0][-1] == session.info.step)
    assert table(page)[0] == list(range(1, session.info.step + 1))
    assert table(page)[1] == list(history.loss)


def test_without_a_stream_the_history_is_asked_for(page: Page, service: ServerProcess, client: Client) -> None:
    page.route("**/events", lambda route: route.fulfill(status=404, json={"title": "a proxy knows no streams"}))
    session = client.sessions.create("adamw", lr=0.05)
    with training(session):
        opened(page, service, session.id)
        expect(page.locator(".pill")).to_have_text("● every 3 s")
        begun = table(page)[0][-1]
        waited(page, lambda: table(page)[0][-1] > begun + 20)


def test_a_stream_that_is_held_back_delays_no_curve(page: Page, service: ServerProcess, client: Client) -> None:
    page.route("**/events", lambda route: None)
    opened(page, service, trained(client, 5, {}).id)
    assert table(page)[0] == [1, 2, 3, 4, 5]
