"""The curves on a phone: nothing is wider than it, and everything that is pressed is large enough for a finger."""

from collections.abc import Callable

import pytest
from optim_client import Client
from playwright.sync_api import Page, expect

from tests.durability.processes import ServerProcess
from tests.page.conftest import trained
from tests.page.test_session import opened

PRESSED = "main :is(button, select, summary, .toolbar label, td a, th a, label:has(input)):visible"


@pytest.fixture
def phone(new_page: Callable[..., Page]) -> Page:
    return new_page(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)


@pytest.mark.parametrize("count", [1, 3])
def test_curves_fit_a_phone(phone: Page, service: ServerProcess, client: Client, count: int) -> None:
    sessions = [trained(client, 30, {"run": f"a run with a long name, {i}"}, undo=2) for i in range(count)]
    sessions[0].undo()
    opened(phone, service, *(session.id for session in sessions))
    if count == 1:
        phone.get_by_text("Tensors", exact=True).tap()
        expect(phone.get_by_text("Norms after step 29.")).to_be_visible()
    assert phone.evaluate("document.documentElement.scrollWidth") == 390
    small = {
        target.inner_text(): box
        for target in phone.locator(PRESSED).all()
        if (box := target.bounding_box()) and min(box["height"], box["width"]) < 44
    }
    assert small == {}
