"""Accessibility: axe-core finds nothing serious or critical on any view, light or dark, on a desktop or a phone."""

from collections.abc import Callable

import pytest
from optim_client import Client
from playwright.sync_api import Page, expect

from tests.durability.processes import ServerProcess
from tests.page.conftest import faults_of_access, trained
from tests.page.test_session import opened

THEMES = "light", "dark"
SIZES = {"desktop": {"width": 1280, "height": 800}, "phone": {"width": 390, "height": 844}}


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("size", SIZES)
def test_the_list_and_its_dialogs_have_no_fault(
    new_page: Callable[..., Page], service: ServerProcess, client: Client, theme: str, size: str
) -> None:
    page = new_page(color_scheme=theme, viewport=SIZES[size], reduced_motion="reduce")
    page.goto(service.url)
    expect(page.get_by_text("No sessions yet")).to_be_visible()
    assert faults_of_access(page) == []
    trained(client, 3, {"run": "first"})
    trained(client, 0, {"run": "second"})
    expect(page.locator("tbody a.name")).to_have_count(2)
    page.get_by_role("checkbox").first.check()
    page.get_by_role("checkbox").last.check()
    expect(page.get_by_role("link", name="Compare")).to_be_visible()
    assert faults_of_access(page) == []
    page.get_by_role("button", name="Keys").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert faults_of_access(page) == []


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("size", SIZES)
def test_the_curves_have_no_fault(
    new_page: Callable[..., Page], service: ServerProcess, client: Client, theme: str, size: str
) -> None:
    page = new_page(color_scheme=theme, viewport=SIZES[size], reduced_motion="reduce")
    one, other = (trained(client, 30, {"run": name}, lr=0.01, undo=2) for name in ("first", "second"))
    one.undo()
    one.update(lr=0.02)
    opened(page, service, one.id)
    page.get_by_text("Tensors", exact=True).click()
    expect(page.get_by_text("Norms after step 29.")).to_be_visible()
    page.get_by_role("slider", name="Loss: cursor").press("ArrowLeft")
    assert faults_of_access(page) == []
    opened(page, service, one.id, other.id)
    assert faults_of_access(page) == []


@pytest.mark.parametrize("theme", THEMES)
def test_the_question_for_a_key_has_no_fault(new_page: Callable[..., Page], guarded: ServerProcess, theme: str) -> None:
    page = new_page(color_scheme=theme)
    page.goto(guarded.url)
    expect(page.get_by_role("dialog", name="API key")).to_be_visible()
    assert faults_of_access(page) == []


@pytest.mark.parametrize("theme", THEMES)
def test_the_reference_has_no_fault(new_page: Callable[..., Page], service: ServerProcess, theme: str) -> None:
    page = new_page(color_scheme=theme)
    page.goto(f"{service.url}/docs")
    assert faults_of_access(page) == []
