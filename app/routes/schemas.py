"""The schemas of the OpenAPI document: the contents of bodies and answers, for all routes."""

from collections.abc import Mapping
from dataclasses import MISSING
from typing import Any

from app.errors import ERRORS
from app.routes.examples import EXAMPLES
from app.routes.mark_schemas import marks
from app.routes.round_schemas import rounds
from app.routes.schema_words import FLAG, NUMBER, SPECIAL_NUMBER, TEXT, WHOLE, Document, list_of, object_of, ref
from app.session import DTYPES
from app.wire.session_json import CHANGEABLE, CREATION, FORKED, Joining, Undo
from app.worker_settings import workers_schema
from optim_engine.clipping import Clip
from optim_engine.fields import Setting, field_schema
from optim_engine.groups import LONGEST_NAME
from optim_engine.optimizers import OPTIMIZERS
from optim_engine.schedules import SCHEDULES

METRICS = tuple(EXAMPLES["StepAnswer"]["metrics"])
UNDONE = "The session's own step, which is undone."
_PARAMS: Document = {"type": "object", "additionalProperties": ref("Tensor")}
_ROWS: Document = {"type": "array", "items": {"type": "integer", "minimum": 0}, "description": "Strictly increasing."}


def components() -> dict[str, Document]:
    """Return every schema that the routes refer to."""
    of_steps = {**_steps(), **marks(), **rounds(_step(), _step_answer())}
    return {**_requests(), **_sessions(), **of_steps, **_health(), **_service()}


def _create() -> Document:
    """Return the settings as a creation has them. Those that are objects have a schema of their own."""
    composite: Document = {
        "hyperparameters": {"type": "object", "anyOf": _optimizers()},
        "groups": {"type": ["array", "null"], "items": ref("Group")},
        "schedule": {"oneOf": [*_schedules(), {"type": "null"}]},
        "clip": {"oneOf": [field_schema(Clip), {"type": "null"}]},
        "workers": workers_schema(),
        "labels": {"type": ["object", "null"], "additionalProperties": TEXT},
    }
    return {
        name: (composite.get(name) or {**row.schema, **_default(row)}) | {"description": row.words}
        for name, row in CREATION.items()
    }


def _update() -> Document:
    """Return the settings as a change has them: `null` puts a default back."""
    composite: Document = {
        "hyperparameters": {"type": ["object", "null"]},
        "groups": {"type": ["array", "null"], "items": ref("Group")},
        "schedule": {"type": ["object", "null"]},
        "clip": {"oneOf": [field_schema(Clip), {"type": "null"}]},
        "workers": {"type": ["object", "null"]},
        "labels": {"type": ["object", "null"], "additionalProperties": {"type": ["string", "null"]}},
    }
    return {name: composite.get(name) or _or_null(row.schema) for name, row in CHANGEABLE.items()}


def _fork() -> Document:
    """Return the settings that a fork may have of its own, as a creation has them; without them, the source's."""
    return {name: {key: part for key, part in _create()[name].items() if key != "default"} for name in FORKED}


def _session() -> Document:
    """Return the settings and all else that an answer has of a session."""
    composite: Document = {
        "hyperparameters": {"type": "object"},
        "groups": list_of(ref("Group")),
        "schedule": {"type": ["object", "null"]},
        "clip": {"type": ["object", "null"]},
        "average": {"type": ["object", "null"]},
        "workers": {"type": ["object", "null"]},
        "labels": {"type": "object", "additionalProperties": TEXT},
    }
    return {
        **dict.fromkeys(("id", "digest", "created_at", "updated_at"), TEXT),
        **{name: composite.get(name) or {"type": row.schema["type"]} for name, row in CREATION.items()},
        "step": WHOLE,
        "skipped_steps": WHOLE,
        "rewinds": {**WHOLE, "description": "How many steps were undone."},
        "warnings": list_of(TEXT),
        "expires_at": {"type": ["string", "null"]},
    }


def _default(row: Setting) -> Document:
    return {} if row.default is MISSING else {"default": row.default}


def _or_null(schema: Mapping[str, Any]) -> Document:
    """Return the schema of the same or `null`."""
    if "null" in schema["type"]:
        return {**schema}
    names = {"enum": [None, *schema["enum"]]} if "enum" in schema else {}
    return {**schema, "type": [schema["type"], "null"], **names}


def _requests() -> dict[str, Document]:
    return {
        "CreateSession": object_of(_create(), required=["optimizer"]),
        "UpdateSession": object_of(_update(), required=[]),
        "ForkSession": object_of(_fork(), required=[]),
        "Undo": object_of({"step": {**field_schema(Undo)["properties"]["step"], "description": UNDONE}}),
        "JoinWorker": object_of(
            {
                "epoch": {
                    **field_schema(Joining)["properties"]["epoch"],
                    "description": "The epoch whose lease is renewed; without it, the worker joins with a new one.",
                }
            },
            required=[],
        ),
        "TensorEdits": object_of(
            {
                "rename": {"type": "object", "additionalProperties": TEXT, "description": "New names by old ones."},
                "remove": {**list_of(TEXT), "description": "Tensors to forget."},
                "reset": {**list_of(TEXT), "description": "Tensors to start again: no moments, no updates."},
            },
            required=[],
        ),
        "Group": {
            "type": "object",
            "properties": {
                "match": {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1},
                "optimizer": {"enum": [*OPTIMIZERS, None], "description": "Their own optimizer, with its defaults."},
                "name": {"type": ["string", "null"], "maxLength": LONGEST_NAME, "description": "For `overrides`."},
                "sparse": {
                    "enum": ["dense", "lazy", None],
                    "description": "What a gradient of rows does to the others.",
                },
            },
            "required": ["match"],
            "description": "Patterns for tensors' names, and the hyperparameters of the tensors that match.",
        },
    }


def _sessions() -> dict[str, Document]:
    session = _session()
    tensors: Document = {"type": "object", "additionalProperties": ref("SeenTensor")}
    return {
        "Session": object_of({**session, "tensors": tensors, "round": ref("Standing")}, required=[*session, "tensors"]),
        "SessionSummary": object_of({**session, "tensor_count": WHOLE, "state_bytes": WHOLE}),
        "SeenTensor": object_of(
            {
                "shape": list_of(WHOLE),
                "dtype": TEXT,
                "step": WHOLE,
                "group": {"type": ["integer", "null"]},
                "optimizer": TEXT,
            }
        ),
        "SessionList": object_of(
            {
                "sessions": list_of(ref("SessionSummary")),
                "unreadable": {
                    "type": "array",
                    "items": object_of({"id": TEXT, "code": {"type": "string", "enum": sorted(ERRORS)}}),
                    "description": "Damaged sessions, and those of a newer version. Absent if there are none.",
                },
                "next_cursor": {"type": ["string", "null"]},
            },
            required=["sessions", "next_cursor"],
        ),
    }


def _steps() -> dict[str, Document]:
    return {
        "Tensor": _tensor({"type": "number"}),
        "Gradient": _tensor(SPECIAL_NUMBER, rows=True)
        | {"description": "`null` as a whole: left out, with its parameter."},
        "AnsweredTensor": _tensor({"type": "number"}, rows=True),
        "Step": object_of(_step(), required=["grads"]),
        "StepAnswer": _answer(_step_answer()),
        "Preview": _answer({**_step_answer(), "preview": {"const": True}}),
        "Params": object_of({"params": _PARAMS}),
        "Rows": object_of({"rows": {"type": "object", "additionalProperties": _ROWS}}),
        "RowsOfParams": object_of({"params": {"type": "object", "additionalProperties": _rows_of_tensor()}}),
        "History": object_of(
            {
                "history": list_of(ref("HistoryRow")),
                "marks": {**list_of(ref("Mark")), "description": "With `points`: what happened between steps."},
                "number": {
                    **WHOLE,
                    "description": "With `points`: the `Last-Event-ID` to follow the events from here.",
                },
            },
            required=["history"],
        ),
        "HistoryRow": object_of(
            {
                "step": WHOLE,
                "loss": {"anyOf": [*NUMBER["anyOf"], {"type": "null"}]},
                **dict.fromkeys(METRICS, NUMBER),
                "skipped": FLAG,
                "duration_ms": {"type": "number"},
                "time": TEXT,
                "undone": {"const": True, "description": "The step was undone. Absent from other rows."},
                "contributions": {**list_of(ref("Fate")), "description": "Of a step that is made of contributions."},
                "digest": {**TEXT, "description": "The session's after such a step."},
                "version": {**WHOLE, "description": "That of the save of such a step."},
            },
            required=["step", "loss", *METRICS, "skipped", "duration_ms", "time"],
        ),
    }


def _health() -> Document:
    """Return the schemas of the tensors' health."""
    words = {
        "param_norm": "Of the held parameter; `null` if the session holds none.",
        "m_norm": "Of the first moment; `null` if the rule keeps none.",
        "v_norm": "Of the second moment; `null` if the rule keeps none.",
        "update_norm": "Of the tensor's last update; `null` if it is not known.",
        "update_to_weight": "`update_norm` / `param_norm`; `null` without either, or where the parameter is 0.",
        "zero_share": "The share of the held parameter's elements that are 0; `null` if there are none.",
    }
    norm = {"anyOf": [*NUMBER["anyOf"], {"type": "null"}]}
    return {
        "Tensors": object_of(
            {"step": WHOLE, "tensors": {"type": "object", "additionalProperties": ref("TensorHealth")}}
        ),
        "TensorHealth": object_of({name: {**norm, "description": text} for name, text in words.items()}),
    }


def _step() -> Document:
    number = {"type": ["integer", "null"], "minimum": 1, "description": "The number that this step will get."}
    lr = {"type": ["number", "null"], "minimum": 0, "description": "The learning rate of this step alone."}
    scale = {"type": ["number", "null"], "exclusiveMinimum": 0, "default": 1}
    scale["description"] = "The gradients are divided by it before they are checked."
    overrides = {"type": ["object", "null"], "properties": {"groups": {"type": ["object", "null"]}}}
    overrides["description"] = "Hyperparameters of this step alone; in `groups`, by the index or name of a group."
    return {
        "step": number,
        "params": _PARAMS,
        "grads": {"type": "object", "additionalProperties": ref("Gradient"), "minProperties": 1},
        "lr": lr,
        "overrides": overrides,
        "grad_scale": scale,
        "loss": {"anyOf": [*NUMBER["anyOf"], {"type": "null"}], "description": "Recorded in the history."},
    }


def _answer(members: Document) -> Document:
    """Return the schema of a step's answer, which may come without parameters."""
    return object_of(members, required=[name for name in members if name != "params"])


def _step_answer() -> Document:
    digest = {"type": "string", "description": "The digest of these parameters: compare it, do not compute it."}
    return {
        "step": WHOLE,
        "params": {
            "type": "object",
            "additionalProperties": ref("AnsweredTensor"),
            "description": "Absent if the request preferred `return=minimal`.",
        },
        "skipped": FLAG,
        "digest": TEXT,
        "params_digest": digest,
        "metrics": object_of(dict.fromkeys(METRICS, NUMBER)),
        "warnings": {**list_of(TEXT), "description": "Possible mistakes in a step that was taken."},
    }


def _service() -> dict[str, Document]:
    return {
        "Optimizers": object_of({"optimizers": {"type": "object", "additionalProperties": ref("Optimizer")}}),
        "Optimizer": object_of(
            {
                "hyperparameters": {
                    "type": "object",
                    "additionalProperties": {"type": "object", "description": "Its JSON schema, with the default."},
                },
                "slots": {**list_of(TEXT), "description": "What it keeps for a matrix under its defaults."},
                "bits": {"type": "string", "enum": ["everywhere", "machine"]},
                "reference": {**TEXT, "description": "The package whose names, defaults and numerics it has."},
            }
        ),
        "Liveness": object_of({"status": TEXT}),
        "Readiness": object_of(
            {"status": TEXT, "store": TEXT, "replicas": WHOLE, "durability": TEXT, "kernel": TEXT, "version": TEXT}
        ),
        "Problem": {
            "type": "object",
            "description": "RFC 9457; further members depend on the code.",
            "properties": {
                "type": TEXT,
                "title": TEXT,
                "status": WHOLE,
                "detail": TEXT,
                "code": {"type": "string", "enum": sorted(ERRORS)},
            },
            "required": ["type", "title", "status", "detail", "code"],
        },
    }


def _tensor(number: Document, *, rows: bool = False) -> Document:
    """Return the schema of a tensor, which may be of some `rows` alone."""
    typed: Document = {
        "dtype": {"type": "string", "enum": [*DTYPES]},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
    }
    forms: list[Document] = [
        {**typed, "data": {"type": "array", "items": number}},
        {**typed, "base64": {"type": "string", "description": "Little-endian."}},
    ]
    nested = {"type": "array", "description": "A nested list, float32.", "items": {}}
    some = {"rows": {**typed["shape"], "description": "Strictly increasing."}}
    lists: list[Document] = [{"data": nested}, {"dtype": typed["dtype"], "data": {"type": "array"}}]
    of_rows = [{**some, **form} for form in (*lists, *forms)]
    return {"anyOf": [number, nested, *map(object_of, forms), *map(object_of, of_rows if rows else [])]}


def _rows_of_tensor() -> Document:
    forms = _tensor({"type": "number"})["anyOf"][2:]
    nested = {"dtype": {"type": "string", "enum": [*DTYPES]}, "data": {"type": "array", "items": {}}}
    return {
        "anyOf": [
            object_of({"rows": _ROWS, **nested}, required=["rows", "data"]),
            *(object_of({"rows": _ROWS, **form["properties"]}) for form in forms),
        ]
    }


def _optimizers() -> list[Document]:
    return [{"title": name, **field_schema(rule.settings)} for name, rule in OPTIMIZERS.items()]


def _schedules() -> list[Document]:
    schemas = []
    for name, kind in SCHEDULES.items():
        schema = field_schema(kind)
        schema["properties"] = {"kind": {"const": name}, **schema["properties"]}
        schema["required"] = ["kind", *schema.get("required", [])]
        schemas.append({"title": name, "description": kind.__doc__ or "", **schema})
    return schemas
