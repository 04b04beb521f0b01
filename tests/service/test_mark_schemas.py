"""The schema of marks, held against those that are answered."""

from httpx2 import Client

from app.routes.mark_schemas import marks
from tests.service.calls import W, create, stepped


def test_answered_marks_have_the_fields_of_the_schema(client: Client) -> None:
    session = create(client, undo=1)
    stepped(client, session, **W)
    client.patch(session, json={"clip": {"global_norm": 1.0}})
    client.post(f"{session}/undo", json={"step": 1})
    answered = client.get(f"{session}/history", params={"points": 4}).json()["marks"]
    schema = marks()["Mark"]
    assert [mark["event"] for mark in answered] == ["settings", "undo"]
    for mark in answered:
        assert set(schema["required"]) <= mark.keys() <= schema["properties"].keys()
        assert mark["event"] in schema["properties"]["event"]["enum"]
