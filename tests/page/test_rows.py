"""The rows of a list of 10,000 sessions: as quick as a few, since only those in view are drawn."""

from collections.abc import Iterator

import pytest
from optim_client import Client
from playwright.sync_api import Browser, Page, expect

from tests.durability.processes import ServerProcess, servers
from tests.page.conftest import noted, step
from tests.page.training import waited

pytestmark = pytest.mark.xdist_group("rows")
"""All in one process: so many sessions are made once."""
COUNT = 10_000
MOST_ROWS = 60
SECONDS = 0.1
SEARCHED = """(words) => {
  const field = document.getElementById('search')
  field.value = words
  const begun = performance.now()
  field.dispatchEvent(new Event('input'))
  document.body.getBoundingClientRect()
  return (performance.now() - begun) / 1000
}"""


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Start a service with 10,000 sessions, `run-0` the oldest."""
    with servers(["memory:"], tmp_path_factory.mktemp("crowded")) as [service], Client(service.url) as client:
        for number in range(COUNT):
            session = client.sessions.create("adamw", labels={"run": f"run-{number}"})
            if number % 1000 == 0:
                step(session, 3)
        yield service


@pytest.fixture(scope="module")
def loaded(chromium: Browser, crowded: ServerProcess) -> Iterator[Page]:
    """Yield a page that has loaded all of them."""
    faults: list[str] = []
    with chromium.new_context(viewport={"width": 1280, "height": 800}) as context:
        page = noted(context.new_page(), faults)
        page.goto(crowded.url)
        expect(page.locator("#count")).to_have_text("10,000", timeout=180_000)
        yield page
    assert not faults


@pytest.fixture
def crowd(loaded: Page) -> Page:
    """Return that page as it was when it was loaded."""
    loaded.locator("#search").fill("")
    loaded.get_by_role("columnheader", name="Step").get_by_role("button").click()
    loaded.get_by_role("columnheader", name="Session").get_by_role("button").click()
    loaded.evaluate("scrollTo(0, 0)")
    return loaded


def test_a_long_list_draws_what_is_in_view(crowd: Page) -> None:
    assert crowd.locator("tbody tr:not(.space)").count() < MOST_ROWS
    expect(crowd.get_by_role("table")).to_have_attribute("aria-rowcount", str(COUNT + 1))
    crowd.locator("tbody a.name").first.focus()
    crowd.keyboard.press("End")
    expect(crowd.get_by_role("link", name="run-0", exact=True)).to_be_focused()
    expect(crowd.locator("tr[data-id]").last.locator(".loss .value")).to_have_text("2.081")
    assert crowd.locator("tbody tr:not(.space)").count() < MOST_ROWS
    crowd.keyboard.press("PageUp")
    crowd.keyboard.press("Home")
    expect(crowd.get_by_role("link", name=f"run-{COUNT - 1}", exact=True)).to_be_focused()


def test_a_search_of_a_long_list_is_quick(crowd: Page) -> None:
    assert min(crowd.evaluate(SEARCHED, words) for words in ("r", "ru", "run", "run-", "run-777")) < SECONDS
    expect(crowd.locator("#count")).to_have_text("11 of 10,000")
    assert crowd.evaluate(SEARCHED, "run:run-9999") < 10 * SECONDS
    expect(crowd.locator("tbody a.name")).to_have_text(["run-9999"])


def test_a_long_list_is_sorted_by_a_click(crowd: Page) -> None:
    crowd.get_by_role("columnheader", name="Step").get_by_role("button").click()
    expect(crowd.locator("tbody tr:not(.space) td.step").first).to_have_text("3")
    assert crowd.locator("tbody a.name").all_inner_texts()[:2] == ["run-9000", "run-8000"]


def test_a_scroll_through_a_long_list_leaves_no_gap(crowd: Page) -> None:
    for place in (0.2, 0.5, 0.9):
        crowd.evaluate("(place) => scrollTo(0, place * document.body.scrollHeight)", place)
        waited(
            crowd,
            lambda: crowd.evaluate(
                "[0.3, 0.6, 0.9].every((at) => document.elementFromPoint(600, at * innerHeight).closest('tr[data-id]'))"
            ),
        )
