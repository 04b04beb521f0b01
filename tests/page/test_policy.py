"""The policy of the page, as Chromium keeps to it: nothing comes from elsewhere, and no script from within a page."""

import pytest
from playwright.sync_api import Browser

from tests.durability.processes import ServerProcess
from tests.page.conftest import noted
from tests.page.training import waited

ELSEWHERE = "http://127.0.0.2:9"
INJECTED = {
    "img-src": f"<img src='{ELSEWHERE}/a.png'>",
    "style-src-attr": "<p style='color: red'>",
    "script-src-attr": "<img src='data:,' onerror='document.title = 1'>",
    "frame-src": f"<iframe src='{ELSEWHERE}'></iframe>",
}


@pytest.mark.parametrize("directive", INJECTED)
@pytest.mark.parametrize("path", ["/", "/docs"])
def test_the_policy_stops_what_is_injected(
    chromium: Browser, service: ServerProcess, path: str, directive: str
) -> None:
    faults: list[str] = []
    with chromium.new_context() as context:
        page = noted(context.new_page(), faults)
        page.goto(service.url + path)
        title = page.title()
        assert faults == []
        page.locator("main").evaluate("(main, html) => main.insertAdjacentHTML('beforeend', html)", INJECTED[directive])
        waited(page, lambda: any(f"policy: {directive}" in fault for fault in faults))
        assert page.title() == title


def test_a_call_to_another_origin_is_stopped(chromium: Browser, service: ServerProcess) -> None:
    faults: list[str] = []
    with chromium.new_context() as context:
        page = noted(context.new_page(), faults)
        page.goto(service.url)
        assert page.evaluate("(url) => fetch(url).then(() => 'sent', () => 'stopped')", ELSEWHERE) == "stopped"
        waited(page, lambda: any("policy: connect-src" in fault for fault in faults))
