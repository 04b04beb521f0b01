"""Several sessions in one plot."""

import re

from optim_client import Client
from playwright.sync_api import Page, expect

from tests.durability.processes import ServerProcess
from tests.page.conftest import step, trained
from tests.page.test_session import opened
from tests.page.training import painted, table, waited


def test_two_sessions_are_compared_in_one_plot(page: Page, service: ServerProcess, client: Client) -> None:
    one = trained(client, 30, {"run": "first", "seed": "1"}, lr=0.01)
    other = trained(client, 20, {"run": "second"}, "sgd", lr=0.1)
    page.goto(service.url)
    for name in ("first", "second"):
        page.get_by_role("checkbox", name=f"Compare {name}").check()
    page.get_by_role("link", name="Compare").click()
    expect(page).to_have_url(re.compile(f"#/compare/{one.id},{other.id}$"))
    page.get_by_label("Smoothing").fill("0")
    waited(page, lambda: len(table(page, "lr")) == 3)
    assert table(page, "lr") == [list(range(1, 31)), [0.01] * 30, [0.1] * 20 + [None] * 10]
    assert painted(page, "--curve-1", "lr") > 200
    assert painted(page, "--curve-2", "lr") > 100
    rows = page.locator(".compare tbody tr")
    assert [row.inner_text().split("\t")[2:7] for row in rows.all()] == [
        ["first", "adamw", "seed: 1", "30", "0.5395"],
        ["second", "sgd", "", "20", "0.8895"],
    ]
    rows.first.get_by_role("checkbox").uncheck()
    waited(page, lambda: len(table(page, "lr")) == 2)
    assert painted(page, "--curve-1", "lr") == 0


def test_all_compared_sessions_are_watched(page: Page, service: ServerProcess, client: Client) -> None:
    """A browser has six connections to a host: the first sessions have streams, the others are asked for."""
    sessions = [client.sessions.create("adamw", lr=0.01) for _ in range(5)]
    for session in sessions:
        step(session, 3)
    opened(page, service, *(session.id for session in sessions))
    pills = page.locator(".compare tbody .pill")
    expect(pills).to_have_text([*["● live"] * 3, *["● every 3 s"] * 2])
    for place in (0, 4):
        step(sessions[place], 20, 3)
        expect(page.locator(".compare tbody tr").nth(place).locator("td.figure").first).to_have_text("23")


def test_sessions_of_another_time_are_compared_from_their_first_steps(
    page: Page, service: ServerProcess, client: Client
) -> None:
    ids = [trained(client, 5, {"run": name}).id for name in ("first", "second")]
    opened(page, service, *ids)
    page.get_by_label("Over").select_option("relative")
    waited(page, lambda: table(page, "lr")[0][0] == 0)
    assert max(table(page, "lr")[0]) < 60


def test_more_sessions_than_styles_are_refused_with_words(page: Page, service: ServerProcess, client: Client) -> None:
    ids = [trained(client, 1, {}).id for _ in range(9)]
    opened(page, service, *ids)
    expect(page.get_by_text("The first 8 of 9 sessions are shown.")).to_be_visible()
    expect(page.locator(".compare tbody tr")).to_have_count(8)
