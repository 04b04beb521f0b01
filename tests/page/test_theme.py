"""The theme: the system's, or the one that was chosen."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.durability.processes import ServerProcess

LIGHT, DARK = "rgb(255, 255, 255)", "rgb(15, 18, 23)"


def ground(page: Page) -> str:
    colour: str = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return colour


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_the_theme_follows_the_system_until_one_is_chosen(
    new_page: Callable[..., Page], service: ServerProcess, path: str
) -> None:
    page = new_page(color_scheme="dark")
    page.goto(service.url + path)
    assert ground(page) == DARK
    page.emulate_media(color_scheme="light")
    assert ground(page) == LIGHT
    switch = page.get_by_role("button", name="Theme")
    for theme, colour in (("light", LIGHT), ("dark", DARK)):
        switch.click()
        expect(switch).to_have_attribute("title", f"Theme: {theme}")
        assert ground(page) == colour
    page.reload()
    assert ground(page) == DARK
    switch.click()
    assert ground(page) == LIGHT
