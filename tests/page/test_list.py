"""The list of sessions: its rows, search, order, selection and keys, and how it lives."""

import re
from collections.abc import Callable

import pytest
from optim_client import Client
from playwright.sync_api import Locator, Page, expect

from tests.durability.processes import ServerProcess
from tests.page.conftest import step, trained


def names(page: Page) -> list[str]:
    return page.locator("tbody a.name").all_inner_texts()


def row_of(page: Page, name: str) -> Locator:
    return page.get_by_role("row").filter(has=page.get_by_role("link", name=name, exact=True))


@pytest.fixture
def three(client: Client) -> None:
    """Make three sessions: `first` with 30 steps, `second` with 3, and `third` for workers without any."""
    trained(client, 30, {"run": "first", "owner": "ada"}, lr=0.01)
    trained(client, 3, {"run": "second", "owner": "grace"}, "sgd", lr=0.01)
    client.sessions.create("lion", labels={"run": "third"}, hold_params=True, workers={"mode": "rounds", "expected": 4})


@pytest.fixture
def listed(page: Page, service: ServerProcess, three: None) -> Page:
    page.goto(service.url)
    expect(page.locator("tbody a.name")).to_have_count(3)
    return page


def test_a_row_says_what_a_session_does(listed: Page) -> None:
    row = row_of(listed, "first")
    cells = {name: row.locator(f".{name}") for name in ("optimizer", "step", "loss", "size", "workers", "seen")}
    expect(cells["loss"].locator(".value")).to_have_text("0.5395")
    assert len(re.findall("[ML]", cells["loss"].locator("path").get_attribute("d") or "")) == 30
    assert (cells["optimizer"].inner_text(), cells["step"].inner_text(), cells["size"].inner_text()) == (
        "adamw", "30", "352 B",
    )  # fmt: skip
    assert row.locator(".made").inner_text().split() == ["first", _id(listed, "first")[-8:], "owner:", "ada"]
    expect(row_of(listed, "third").locator(".workers")).to_have_text("4 in rounds")
    expect(listed.locator("#count")).to_have_text("3")


def test_the_search_wants_every_word(listed: Page) -> None:
    listed.keyboard.press("/")
    for words, found in (("OWNER:", ["second", "first"]), ("owner: adamw", ["first"]), ("lion", ["third"])):
        listed.locator("#search").fill(words)
        expect(listed.locator("#count")).to_have_text(f"{len(found)} of 3")
        assert names(listed) == found
    listed.locator("#search").fill("nothing like that")
    expect(listed.get_by_text("No session matches")).to_be_visible()
    listed.get_by_role("button", name="Clear the search").click()
    expect(listed.locator("tbody a.name")).to_have_count(3)


@pytest.mark.parametrize(
    ("column", "first", "then"),
    [
        ("Session", "first second third", "third second first"),
        ("Optimizer", "first third second", "second third first"),
        ("Step", "first second third", "third second first"),
        ("Loss", "first second third", "second first third"),
        ("State", "first third second", "third second first"),
        ("Last seen", "third second first", "first second third"),
    ],
)
def test_a_click_on_a_column_sorts_both_ways(listed: Page, column: str, first: str, then: str) -> None:
    expect(row_of(listed, "second").locator(".loss .value")).not_to_have_text("–")
    head = listed.get_by_role("columnheader", name=column)
    for order in (first, then):
        head.get_by_role("button").click()
        assert " ".join(names(listed)) == order
    assert head.get_attribute("aria-sort") in ("ascending", "descending")


def test_new_sessions_and_steps_appear_by_themselves(listed: Page, client: Client) -> None:
    step(client.sessions.create("adam", labels={"run": "fourth"}), 2)
    expect(row_of(listed, "fourth").locator(".step")).to_have_text("2")
    expect(row_of(listed, "fourth").locator(".seen")).to_have_text("live")
    step(client.sessions.get(_id(listed, "first")), 5, 30)
    expect(row_of(listed, "first").locator(".step")).to_have_text("35")
    expect(row_of(listed, "first").locator(".loss .value")).to_have_text("0.4202")


def test_a_deleted_session_leaves_the_list(listed: Page, client: Client) -> None:
    client.sessions.get(_id(listed, "second")).delete()
    expect(listed.locator("tbody a.name")).to_have_count(2)
    assert names(listed) == ["third", "first"]


def _id(page: Page, name: str) -> str:
    return row_of(page, name).get_attribute("data-id") or ""


def test_the_keyboard_moves_selects_and_opens(listed: Page) -> None:
    listed.keyboard.press("/")
    listed.keyboard.press("ArrowDown")
    listed.keyboard.press("ArrowDown")
    expect(listed.get_by_role("link", name="second")).to_be_focused()
    listed.keyboard.press("x")
    listed.keyboard.press("End")
    listed.keyboard.press("x")
    ids = f"{_id(listed, 'second')},{_id(listed, 'first')}"
    expect(listed.get_by_role("link", name="Compare")).to_have_attribute("href", f"#/compare/{ids}")
    expect(listed.get_by_role("checkbox", name="Compare first")).to_be_checked()
    listed.keyboard.press("Enter")
    expect(listed).to_have_url(re.compile(f"#/session/{_id_in(ids, 1)}$"))


def _id_in(ids: str, place: int) -> str:
    return ids.split(",")[place]


def test_the_keys_are_explained(listed: Page) -> None:
    listed.keyboard.press("?")
    expect(listed.get_by_role("dialog", name="Keys")).to_be_visible()
    listed.keyboard.press("Escape")
    expect(listed.get_by_role("dialog")).to_have_count(0)


def test_the_list_is_where_it_was_left(listed: Page) -> None:
    listed.locator("#search").fill("owner:")
    listed.get_by_role("columnheader", name="Step").get_by_role("button").click()
    listed.get_by_role("link", name="first").click()
    expect(listed.locator(".sessions")).to_have_count(0)
    listed.go_back()
    expect(listed.locator("#search")).to_have_value("owner:")
    assert names(listed) == ["first", "second"]


def test_an_empty_service_says_how_to_begin(page: Page, service: ServerProcess, client: Client) -> None:
    page.goto(service.url)
    expect(page.get_by_role("heading", name="No sessions yet")).to_be_visible()
    python, shell = page.locator(".sample code").all_inner_texts()
    assert service.url in python
    assert f"{service.url}/v1/sessions" in shell
    trained(client, 1, {"run": "first"})
    expect(row_of(page, "first")).to_be_visible()
    expect(page.get_by_text("No sessions yet")).to_have_count(0)


def test_the_list_says_so_when_the_service_is_away(listed: Page, service: ServerProcess) -> None:
    service.kill()
    expect(listed.get_by_role("alert")).to_contain_text(
        "The service cannot be reached. These are the sessions as they were"
    )
    assert len(names(listed)) == 3
    service.start()
    listed.get_by_role("button", name="Try now").click()
    expect(listed.get_by_role("alert")).to_have_count(0)


def test_a_phone_shows_cards_that_fit(new_page: Callable[..., Page], service: ServerProcess, three: None) -> None:
    phone = new_page(viewport={"width": 390, "height": 844}, has_touch=True)
    phone.goto(service.url)
    expect(phone.locator("tbody a.name")).to_have_count(3)
    assert phone.evaluate("document.documentElement.scrollWidth") == 390
    phone.locator("#order").select_option("step")
    assert names(phone) == ["first", "second", "third"]
    for target in phone.locator("button:visible, select:visible, input[type=search], .bar nav a").all():
        box = target.bounding_box()
        assert box
        assert box["height"] >= 44
    row_of(phone, "first").locator(".loss").tap()
    expect(phone).to_have_url(re.compile("#/session/"))
