"""The page of `examples/browser` in a real browser: it learns through the service, and lives through its restarts."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from optim_client import Client, Session
from playwright.sync_api import Page, expect

from tests.docs.blocks import ROOT
from tests.durability.processes import ServerProcess
from tests.service.test_auth import row

STEPS = 300
MS = 60_000
"""The time for a run, on a busy machine."""


@pytest.fixture
def digits(page: Page, site: str) -> Callable[[str], Page]:
    """Return a function that opens the page for a service."""
    assert (ROOT / "clients/typescript/dist/index.js").exists(), "build the client: `make clients ONLY=browser` does"
    page.set_default_timeout(MS)

    def opened(url: str) -> Page:
        page.goto(f"{site}/examples/browser/")
        page.get_by_label("Service", exact=True).fill(url)
        return page

    return opened


def press(page: Page, button: str) -> None:
    page.get_by_role("button", name=button, exact=True).click()


def reach(page: Page, state: str) -> None:
    expect(page.get_by_role("status")).to_have_text(state, timeout=MS)


def reach_step(page: Page, least: int) -> None:
    page.wait_for_function("least => Number(document.getElementById('step').textContent) >= least", arg=least)


def points(page: Page) -> int:
    """Return the number of points of the drawn loss."""
    return len((page.locator("#loss-chart .line").get_attribute("points") or "").split())


def losses(session: Session) -> list[float]:
    """Return the loss of each step. Fails if one was taken twice, or not at all."""
    history = session.history()
    assert [row.step for row in history] == list(range(1, STEPS + 1))
    return [row.loss for row in history]


def test_the_page_learns_to_read_digits(digits: Callable[[str], Page], service: ServerProcess) -> None:
    page = digits(service.url)
    asked = set[str]()
    page.on("request", lambda request: asked.add(request.url))
    press(page, "Start")
    reach_step(page, 5)
    early = points(page)
    reach_step(page, early + 5)
    assert points(page) > early
    reach(page, "Done")
    accuracy = float(page.locator("#accuracy").inner_text().rstrip("%"))
    assert accuracy >= 95
    expect(page.locator("#accuracy-chart")).to_have_attribute(
        "aria-label", re.compile(f"to {accuracy:g}% in {STEPS} steps")
    )
    assert page.locator("#digits .right").count() > 20
    with Client(service.url) as client:
        [session] = client.sessions
        found = losses(session)
    assert found[0] > 2 > 0.3 > found[-1]
    assert all(url.startswith(service.url) for url in asked)


def test_a_killed_service_costs_the_page_no_step(digits: Callable[[str], Page], service: ServerProcess) -> None:
    page = digits(service.url)
    press(page, "Start")
    reach_step(page, 20)
    service.kill()
    reach(page, "Waiting for the service")
    expect(page.get_by_role("alert")).to_contain_text("No step is lost, and none is taken twice")
    assert int(page.locator("#step").inner_text()) < STEPS
    service.start()
    reach(page, "Done")
    expect(page.locator("text.gap")).to_contain_text("no service for")
    press(page, "Again")
    reach_step(page, 1)
    reach(page, "Done")
    with Client(service.url) as client:
        unbroken, broken = client.sessions
        assert losses(broken) == losses(unbroken)


def test_the_page_waits_until_a_service_is_there(
    digits: Callable[[str], Page], site: str, new_service: Callable[..., ServerProcess]
) -> None:
    service = new_service()
    page = digits(service.url)
    press(page, "Start")
    reach(page, "Waiting for the service")
    expect(page.get_by_role("alert")).to_contain_text(f"OPTIM_CORS_ORIGINS={site} optim serve")
    assert page.locator("#step").inner_text() == "0"
    press(page, "Pause")
    reach(page, "Paused")
    service.start()
    press(page, "Resume")
    reach_step(page, 5)


def test_a_paused_run_goes_on_with_another_rate(digits: Callable[[str], Page], service: ServerProcess) -> None:
    page = digits(service.url)
    page.get_by_label("Optimizer", exact=True).select_option("SGD with momentum")
    page.get_by_role("button", name="Start", exact=True).focus()
    page.keyboard.press("Enter")
    reach_step(page, 5)
    page.keyboard.press("Enter")
    reach(page, "Paused")
    page.get_by_label("Learning rate").focus()
    page.keyboard.press("ArrowLeft")
    press(page, "Resume")
    reach(page, "Done")
    with Client(service.url) as client:
        [session] = client.sessions
        rates = [row.lr for row in session.history()]
        losses(session)
    assert (session.info.optimizer, rates[0], rates[-1]) == ("sgd", 0.05, 0.02)


def test_another_optimizer_waits_for_the_next_run(
    digits: Callable[[str], Page], new_service: Callable[..., ServerProcess]
) -> None:
    service = new_service()
    page = digits(service.url)
    press(page, "Start")
    reach(page, "Waiting for the service")
    page.get_by_label("Learning rate").press("ArrowRight")
    optimizer = page.get_by_label("Optimizer", exact=True)
    optimizer.select_option("SGD with momentum")
    expect(page.get_by_text("Starts with the next run.")).to_be_visible()
    service.start()
    reach_step(page, 5)
    with Client(service.url) as client:
        [session] = client.sessions
        assert (session.info.optimizer, session.info.hyperparameters["lr"]) == ("adamw", 0.01)
    optimizer.select_option("AdamW")
    expect(page.get_by_label("Learning rate")).to_have_attribute("aria-valuetext", "0.01")


def test_a_hammered_button_still_pauses_the_run(digits: Callable[[str], Page], service: ServerProcess) -> None:
    page = digits(service.url)
    press(page, "Start")
    reach_step(page, 3)
    page.evaluate("for (let n = 0; n < 6; n++) document.getElementById('start').click()")
    reach_step(page, 10)
    press(page, "Pause")
    reach(page, "Paused")
    step = page.locator("#step").inner_text()
    page.wait_for_timeout(300)
    assert page.locator("#step").inner_text() == step
    press(page, "Resume")
    reach(page, "Done")
    with Client(service.url) as client:
        [session] = client.sessions
        losses(session)


def test_a_double_click_starts_the_run(digits: Callable[[str], Page], service: ServerProcess) -> None:
    page = digits(service.url)
    page.get_by_role("button", name="Start", exact=True).dblclick()
    reach_step(page, 5)


def test_the_page_says_that_its_run_is_gone(digits: Callable[[str], Page], service: ServerProcess) -> None:
    page = digits(service.url)
    press(page, "Start")
    reach_step(page, 3)
    press(page, "Pause")
    reach(page, "Paused")
    with Client(service.url) as client:
        [session] = client.sessions
        session.delete()
    press(page, "Resume")
    expect(page.get_by_role("alert")).to_contain_text("does not have this run any more: start over")


def test_the_page_asks_for_a_missing_key(
    digits: Callable[[str], Page], tmp_path: Path, new_service: Callable[..., ServerProcess]
) -> None:
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": [row("secret")]}))
    file.chmod(0o600)
    service = new_service(f"--api-keys-file={file}")
    service.start()
    page = digits(service.url)
    press(page, "Start")
    reach(page, "Stopped")
    expect(page.get_by_label("API key")).to_be_focused()
    page.keyboard.type("secret")
    press(page, "Try again")
    reach_step(page, 5)


def test_a_screen_reader_names_what_the_page_shows(digits: Callable[[str], Page]) -> None:
    page = digits("http://127.0.0.1:8000")
    expect(page.get_by_role("slider", name="Learning rate", exact=True)).to_have_attribute("aria-valuetext", "0.005")
    expect(page.get_by_role("img", name="A written 5:").first).to_be_visible()


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_the_page_fits_the_screen(digits: Callable[[str], Page], width: int) -> None:
    page = digits("http://127.0.0.1:8000")
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_the_page_says_that_its_client_is_not_built(page: Page, site: str) -> None:
    page.route("**/dist/**", lambda route: route.abort())
    page.goto(f"{site}/examples/browser/")
    expect(page.get_by_text("npm ci && npm run build")).to_be_visible()
