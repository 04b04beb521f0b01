"""The words of JSON schemas."""

from app.routes.schema_words import TEXT, WHOLE, list_of, object_of, ref


def test_an_object_needs_its_members_unless_some_are_named() -> None:
    assert object_of({"a": TEXT, "b": WHOLE})["required"] == ["a", "b"]
    assert object_of({"a": TEXT, "b": WHOLE}, required=["a"])["required"] == ["a"]
    assert "required" not in object_of({"a": TEXT}, required=[])


def test_a_list_and_a_reference_are_of_what_they_name() -> None:
    assert list_of(ref("Step")) == {"type": "array", "items": {"$ref": "#/components/schemas/Step"}}
