"""Try it, in the reference: forms that send calls from the page, and the same calls for curl."""

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optim_client import Client
from playwright.sync_api import Locator, Page, expect

from tests.durability.processes import ServerProcess
from tests.page.conftest import KEY, faults_of_access, trained


@pytest.fixture
def reference(page: Page, service: ServerProcess) -> Page:
    page.goto(f"{service.url}/docs")
    return page


def tried(page: Page, operation: str) -> Locator:
    """Open the form of a call and return it."""
    page.locator(f"[data-operation={operation}]").click()
    return page.locator(f"#{operation} .trial")


def sent(form: Locator, button: str = "Send") -> Any:
    """Send the form, and return the document that it is answered with."""
    form.get_by_role("button", name=button, exact=True).click()
    expect(form.locator(".answer pre")).to_be_visible()
    return json.loads(form.locator(".answer pre").inner_text())


def command(form: Locator) -> str:
    return form.locator("figure code").inner_text()


def ran(text: str, **variables: str) -> Any:
    """Run a command of curl in a shell, and return the document that it prints."""
    environment = {**os.environ, **variables}
    return json.loads(subprocess.check_output(["sh", "-c", f"{text} --silent"], env=environment, text=True))


def test_a_session_is_created_stepped_and_deleted_from_forms(reference: Page, client: Client) -> None:
    created = sent(tried(reference, "createSession"))
    assert created["labels"] == {"run": "mnist-3"}
    step = tried(reference, "takeStep")
    assert step.get_by_label("session_id").input_value() == created["id"], "the forms know the session"
    step.get_by_label("Body").fill('{"params": {"w": [1]}, "grads": {"w": [1]}}')
    assert sent(step)["step"] == 1
    expect(step.locator(".answer .head")).to_contain_text("200 OK")
    expect(step.locator(".answer details")).to_contain_text("x-request-id")
    delete = tried(reference, "deleteSession")
    delete.get_by_role("button", name="Send").click()
    assert client.sessions.get(created["id"]).info.step == 1, "it asks once more"
    delete.get_by_role("button", name="Delete for good?").click()
    expect(delete.locator(".answer .head")).to_contain_text("204")
    assert list(client.sessions) == []


def test_the_curl_of_a_form_does_the_same(reference: Page, client: Client) -> None:
    form = tried(reference, "createSession")
    form.get_by_label("Body").fill("""{"optimizer": "sgd", "labels": {"run": "it's a \\"test\\" $HOME"}}""")
    made = ran(command(form))
    assert made["labels"] == {"run": 'it\'s a "test" $HOME'}
    listing = tried(reference, "listSessions")
    listing.get_by_label("label").fill("""run:it's""")
    assert "label=run%3Ait%27s" in command(listing) or "label=run%3Ait'\\''s" in command(listing)
    listing.get_by_label("label").fill("")
    listing.get_by_label("limit").fill("5")
    assert sent(listing) == ran(command(listing))
    change = tried(reference, "updateSession")
    change.get_by_label("session_id").fill(made["id"])
    change.get_by_label("Body").fill('{"hyperparameters": {"lr": 0.5}}')
    assert ran(command(change))["hyperparameters"]["lr"] == 0.5


def test_every_form_sends_its_example(reference: Page, service: ServerProcess) -> None:
    """No form sends a request that the service cannot read: it is refused for the session at most."""
    for button in reference.locator(".try").all():
        operation = button.get_attribute("data-operation") or ""
        if operation in ("putState", "getEvents"):
            continue
        form = tried(reference, operation)
        for field in form.locator("input[required]").all():
            if not field.input_value():
                field.fill("0" * 32 if "session_id" in (field.get_attribute("name") or "") else "w")
        form.get_by_role("button", name="Send").click()
        if (button.locator("..").locator("b").inner_text()) == "DELETE":
            form.get_by_role("button", name="Delete for good?").click()
        expect(form.locator(".answer .head")).to_contain_text(re.compile("20[0-4]|404|409|503"))
        reference.locator(f"[data-operation={operation}]").click()


def test_a_refusal_is_shown_as_it_came(reference: Page) -> None:
    form = tried(reference, "createSession")
    form.get_by_label("Body").fill('{"optimizer": "adamx"}')
    answer = sent(form)
    assert (answer["status"], answer["code"]) == (422, "invalid_session")
    expect(form.locator(".answer .status.bad")).to_contain_text("422")


def test_a_state_file_comes_down_and_goes_up(reference: Page, client: Client, tmp_path: Path) -> None:
    session = trained(client, 3, {"run": "first"})
    down = tried(reference, "getState")
    down.get_by_label("session_id").fill(session.id)
    down.get_by_role("button", name="Send").click()
    with reference.expect_download() as download:
        down.get_by_role("link", name=re.compile("Download")).click()
    file = tmp_path / "state.safetensors"
    download.value.save_as(file)
    other = trained(client, 0, {"run": "second"})
    up = tried(reference, "putState")
    up.get_by_label("session_id").fill(other.id)
    up.get_by_label("Body").set_input_files(file)
    up.get_by_role("button", name="Send").click()
    expect(up.locator(".answer .head")).to_contain_text("204")
    assert client.sessions.get(other.id).info.step == 3


def test_a_key_that_was_asked_for_is_not_in_curl(page: Page, guarded: ServerProcess) -> None:
    page.goto(f"{guarded.url}/docs")
    form = tried(page, "listSessions")
    form.get_by_role("button", name="Send").click()
    page.get_by_role("textbox", name="Key").fill(KEY)
    page.get_by_role("button", name="Use key").click()
    expect(form.locator(".answer .head")).to_contain_text("200 OK")
    assert KEY not in command(form)
    assert ran(command(form), OPTIM_API_KEY=KEY) == {"sessions": [], "next_cursor": None}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_an_answered_form_has_no_fault(new_page: Callable[..., Page], service: ServerProcess, theme: str) -> None:
    page = new_page(color_scheme=theme, reduced_motion="reduce")
    page.goto(f"{service.url}/docs")
    sent(tried(page, "createSession"))
    assert faults_of_access(page) == []
