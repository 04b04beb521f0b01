"""The API key: asked for where it is needed, kept in the tab alone, and forgotten."""

from playwright.sync_api import Page, expect

from tests.durability.processes import ServerProcess
from tests.page.conftest import KEY


def give(page: Page, key: str) -> None:
    page.get_by_role("textbox", name="Key").fill(key)
    page.get_by_role("button", name="Use key").click()


def test_a_key_is_asked_for_until_it_fits(page: Page, guarded: ServerProcess) -> None:
    page.goto(guarded.url)
    expect(page.get_by_role("dialog", name="API key")).to_contain_text("This service wants an API key")
    expect(page.get_by_role("textbox", name="Key")).to_be_focused()
    give(page, "another-key")
    expect(page.get_by_role("dialog")).to_contain_text("That key was refused: this API key is unknown")
    give(page, KEY)
    expect(page.get_by_text("No sessions yet")).to_be_visible()


def test_the_key_stays_in_the_tab(page: Page, guarded: ServerProcess) -> None:
    page.goto(guarded.url)
    give(page, KEY)
    expect(page.get_by_text("No sessions yet")).to_be_visible()
    page.reload()
    expect(page.get_by_text("No sessions yet")).to_be_visible()
    assert page.evaluate("JSON.stringify(localStorage) + document.cookie + location.href").count(KEY) == 0
    other = page.context.new_page()
    other.goto(guarded.url)
    expect(other.get_by_role("dialog", name="API key")).to_be_visible()


def test_a_key_can_be_forgotten(page: Page, guarded: ServerProcess) -> None:
    page.goto(guarded.url)
    give(page, KEY)
    page.get_by_role("button", name="Forget key").click()
    expect(page.get_by_role("dialog", name="API key")).to_contain_text("wants an API key")
    assert page.evaluate("sessionStorage.length") == 0


def test_without_a_key_the_page_says_what_to_do(page: Page, guarded: ServerProcess) -> None:
    page.goto(guarded.url)
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("alert")).to_contain_text("An API key is needed")
    page.get_by_role("button", name="Try again").click()
    give(page, KEY)
    expect(page.get_by_text("No sessions yet")).to_be_visible()
