"""A chart by keyboard, mouse and finger: its cursor, its zoom, and its scales."""

from collections.abc import Callable

import pytest
from optim_client import Client
from playwright.sync_api import Locator, Page, expect

from tests.durability.processes import ServerProcess
from tests.page.conftest import trained
from tests.page.test_session import opened
from tests.page.training import table, waited


@pytest.fixture
def chart(page: Page, service: ServerProcess, client: Client) -> Locator:
    opened(page, service, trained(client, 40, {"run": "first"}).id)
    return page.locator("figure.chart[data-metric=loss]")


def shown(chart: Locator) -> list[float]:
    found: list[float] = chart.evaluate("(figure) => figure.chart.view.shown")
    return found


def test_the_keyboard_moves_the_cursor(chart: Locator) -> None:
    slider = chart.get_by_role("slider", name="Loss: cursor")
    slider.focus()
    places = {"ArrowLeft": 39, "Shift+ArrowLeft": 35, "Home": 1, "ArrowRight": 2, "End": 40}
    for key, place in places.items():
        slider.press(key)
        expect(slider).to_have_attribute("aria-valuenow", str(place))
        expect(chart.locator(".tip")).to_contain_text(f"step {place}")
    expect(slider).to_have_attribute("aria-valuetext", "step 40, 0.3272, smoothed 0.3545")


def test_the_keyboard_zooms(chart: Locator) -> None:
    slider = chart.get_by_role("slider")
    slider.focus()
    slider.press("End")
    slider.press("+")
    assert shown(chart) == [20.5, 40]
    slider.press("-")
    assert shown(chart) == [1, 40]
    slider.press("+")
    slider.press("0")
    assert shown(chart) == [1, 40]


def test_a_drag_zooms_all_charts_until_a_double_click(page: Page, chart: Locator) -> None:
    box = chart.locator(".u-over").bounding_box()
    assert box
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 4, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, middle, steps=5)
    page.mouse.up()
    other = page.locator("figure.chart[data-metric=lr]")
    assert shown(other) == shown(chart)
    assert shown(chart) == pytest.approx([10.75, 20.5], abs=0.2)
    chart.locator(".u-over").dblclick()
    assert shown(chart) == [1, 40]


def test_the_mouse_reads_values(page: Page, chart: Locator) -> None:
    chart.locator(".u-over").hover(position={"x": 1, "y": 50})
    expect(chart.locator(".tip")).to_contain_text("step 1")
    expect(chart.locator(".value")).to_have_text("2.3")
    expect(page.locator("figure.chart[data-metric=lr] .tip")).to_be_hidden()
    page.mouse.move(1, 1)
    expect(chart.locator(".tip")).to_be_hidden()
    expect(chart.locator(".value")).to_have_text("0.3272")


def test_a_finger_reads_values(new_page: Callable[..., Page], service: ServerProcess, client: Client) -> None:
    phone = new_page(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    opened(phone, service, trained(client, 40, {}).id)
    plot = phone.locator("figure.chart[data-metric=loss] .u-over")
    plot.tap(position={"x": 2, "y": 50})
    expect(phone.locator("figure.chart[data-metric=loss] .value")).to_have_text("2.3")


def test_a_log_axis_leaves_out_what_has_no_logarithm(page: Page, service: ServerProcess, client: Client) -> None:
    session = client.sessions.create("sgd", lr=0.1)
    for loss in (10.0, 0.0, 1.0, -1.0, 0.1):
        session.step({"w": [1.0]}, {"w": [1.0]}, loss=loss)
    opened(page, service, session.id)
    page.get_by_label("Smoothing").fill("0")
    page.get_by_label("Log axis").check()
    assert table(page)[1] == [10, None, 1, None, 0.1]


def test_over_time_a_chart_has_times(page: Page, service: ServerProcess, client: Client) -> None:
    session = trained(client, 5, {})
    opened(page, service, session.id)
    page.get_by_label("Over").select_option("time")
    waited(page, lambda: table(page)[0][0] > 1e9)
    assert table(page)[0] == pytest.approx([row.time.timestamp() for row in session.history()], abs=0.01)
