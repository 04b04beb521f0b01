"""A session's page: its curves while it trains, what happened between steps, and the session as it is."""

from collections.abc import Callable

from optim_client import Client
from playwright.sync_api import Locator, Page, expect

from tests.durability.processes import ServerProcess
from tests.page.conftest import KEY, step, trained
from tests.page.test_key import give
from tests.page.training import painted, table, training, waited


def opened(page: Page, service: ServerProcess, *ids: str) -> Page:
    """Open the page of a session, or of several in one plot."""
    page.goto(f"{service.url}/#/{'compare' if len(ids) > 1 else 'session'}/{','.join(ids)}")
    expect(page.locator("figure.chart[data-metric=loss] canvas")).to_be_visible()
    return page


def fact(page: Page, name: str) -> Locator:
    return page.locator("dl div").filter(has=page.get_by_text(name, exact=True)).locator("dd")


def test_a_chart_holds_the_history(page: Page, service: ServerProcess, client: Client) -> None:
    session = trained(client, 30, {"run": "first"}, clip={"global_norm": 1.0})
    opened(page, service, session.id)
    history = session.history()
    for metric, values in {
        "loss": history.loss, "lr": history.lr, "grad_norm": history.grad_norm, "update_norm": history.update_norm,
        "param_norm": history.param_norm, "clip_scale": history.clip_scale, "duration_ms": history.duration_ms,
        "ratio": history.update_norm / history.param_norm,
    }.items():  # fmt: skip
        places, found = table(page, metric)[:2]
        assert places == list(range(1, 31))
        assert found == list(values), metric
    expect(fact(page, "Step")).to_have_text("30")
    expect(fact(page, "Loss")).to_have_text("0.5395")


def test_curves_move_while_a_run_trains(page: Page, service: ServerProcess, client: Client) -> None:
    session = client.sessions.create("adamw", lr=0.05, labels={"run": "live"})
    with training(session) as run:
        opened(page, service, session.id)
        expect(page.locator(".pill")).to_have_text("● live")
        picture = page.locator("figure.chart[data-metric=loss] canvas")
        for count in (20, 40, 60):
            waited(page, lambda count=count: table(page)[0][-1] >= count)  # type: ignore[misc]
            pixels = picture.screenshot()
            waited(page, lambda pixels=pixels: picture.screenshot() != pixels)
        assert painted(page, "--accent") > 200
        run.stop()
    history = session.history()
    waited(page, lambda: len(table(page)[0]) == len(history))
    assert table(page)[:2] == [list(history.step), list(history.loss)]
    expect(fact(page, "Step")).to_have_text(str(len(history)))


def test_smoothing_draws_a_second_line(page: Page, service: ServerProcess, client: Client) -> None:
    opened(page, service, trained(client, 30, {}).id)
    _, values, smooth = table(page)
    assert smooth[0] == values[0]
    assert values[-1] < smooth[-1] < values[0], "an average is behind a loss that falls"
    page.get_by_label("Smoothing").fill("0")
    assert len(table(page)) == 2
    assert len(table(page, "lr")) == 2, "what has no noise is never smoothed"


def test_an_undo_is_marked(page: Page, service: ServerProcess, client: Client) -> None:
    session = trained(client, 10, {}, undo=2)
    opened(page, service, session.id)
    expect(page.locator(".pill")).to_have_text("● live")
    assert painted(page, "--bad") == 0
    session.undo()
    expect(page.locator("tr[data-event=undo]")).to_contain_text("↶ step 10 was undone")
    waited(page, lambda: painted(page, "--bad") > 100)
    assert table(page)[0] == list(range(1, 10)), "the step that was undone is in no line"
    expect(fact(page, "Undone")).to_have_text("1")


def test_a_changed_setting_is_marked(page: Page, service: ServerProcess, client: Client) -> None:
    session = trained(client, 10, {}, lr=0.001)
    opened(page, service, session.id)
    expect(page.locator(".pill")).to_have_text("● live")
    session.update(lr=0.0005)
    expect(page.locator("tr[data-event=settings]")).to_contain_text("✎ lr 0.001 → 0.0005")
    expect(page.locator("table.settings tr").filter(has_text="lr").first).to_contain_text("0.0005")
    step(session, 1, 10)
    waited(page, lambda: table(page, "lr")[1][-1] == 0.0005)


def test_a_skipped_step_is_marked(page: Page, service: ServerProcess, client: Client) -> None:
    session = client.sessions.create("sgd", lr=0.1, on_non_finite="skip")
    params = {"w": [1.0, 2.0]}
    for grads in ([0.1, 0.2], [float("nan"), 0.0], [0.1, 0.2]):
        params = session.step(params, {"w": grads}, loss=1.0)
    opened(page, service, session.id)
    waited(page, lambda: painted(page, "--warn") > 10)
    assert table(page)[0] == [1, 2]
    expect(fact(page, "Skipped")).to_have_text("1")


def test_tensors_are_measured_and_sorted(page: Page, service: ServerProcess, client: Client) -> None:
    opened(page, service, trained(client, 3, {}).id)
    page.get_by_text("Tensors", exact=True).click()
    expect(page.get_by_text("Norms after step 3.")).to_be_visible()
    rows = page.locator("table.tensors tbody tr")
    assert [row.inner_text().split("\t")[:3] for row in rows.all()] == [
        ["bias", "8", "float32"], ["w", "4×8", "float32"],
    ]  # fmt: skip
    page.get_by_role("button", name="Shape").click()
    page.get_by_role("button", name="Shape").click()
    expect(rows.first).to_contain_text("w")
    page.get_by_label("Search tensors by name").fill("bi")
    expect(rows).to_have_count(1)


def test_a_session_without_steps_says_so_until_one_comes(page: Page, service: ServerProcess, client: Client) -> None:
    session = client.sessions.create("adam")
    page.goto(f"{service.url}/#/session/{session.id}")
    expect(page.get_by_text("No step was taken yet.")).to_be_visible()
    step(session, 3)
    expect(page.locator("figure.chart[data-metric=loss] canvas")).to_be_visible()
    expect(page.get_by_text("No step was taken yet.")).to_be_hidden()


def test_a_deleted_session_says_so(page: Page, service: ServerProcess, client: Client) -> None:
    session = trained(client, 3, {})
    opened(page, service, session.id)
    expect(page.locator(".pill")).to_have_text("● live")
    session.delete()
    expect(page.locator(".pill")).to_have_text("✕ deleted")
    page.reload()
    expect(page.get_by_role("alert")).to_contain_text("There is no such session")


def test_a_session_is_watched_with_a_key(new_page: Callable[..., Page], guarded: ServerProcess) -> None:
    page = new_page()
    with Client(guarded.url, api_key=KEY) as client:
        session = trained(client, 3, {})
        page.goto(f"{guarded.url}/#/session/{session.id}")
        give(page, KEY)
        expect(page.locator(".pill")).to_have_text("● live")
        step(session, 2, 3)
        waited(page, lambda: table(page)[0] == [1, 2, 3, 4, 5])
