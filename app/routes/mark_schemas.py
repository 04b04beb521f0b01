"""The schema of the marks beside a history, as components of the OpenAPI document."""

from app.routes.schema_words import TEXT, WHOLE, Document, object_of


def marks() -> Document:
    """Return the schema of what happened between steps."""
    return {
        "Mark": object_of(
            {
                "event": {"enum": ["undo", "settings"]},
                "step": {**WHOLE, "description": "The session's step afterwards."},
                "time": TEXT,
                "undone": {**WHOLE, "description": "Of an undo: the step that is gone."},
                "changed": {"type": "object", "description": "Of settings: by name, the old and the new value."},
            },
            required=["event", "step", "time"],
        ),
    }
