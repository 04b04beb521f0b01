"""The schemas of the OpenAPI document: what bodies and answers consist of, whichever route they belong to."""

from typing import Any, get_args

from app.errors import ERRORS
from app.routes.examples import EXAMPLES
from optim_engine.clipping import Clip
from optim_engine.config import OnOtherParams, WireDtype
from optim_engine.fields import field_schema
from optim_engine.optimizers import OPTIMIZERS
from optim_engine.schedules import SCHEDULES

Document = dict[str, Any]

METRICS = tuple(EXAMPLES["StepAnswer"]["metrics"])
TEXT: Document = {"type": "string"}
WHOLE: Document = {"type": "integer"}
FLAG: Document = {"type": "boolean"}
_NOT_FINITE: Document = {"type": "string", "enum": ["NaN", "Infinity", "-Infinity"]}
_SPECIAL_NUMBER: Document = {"anyOf": [{"type": "number"}, {"type": "null"}, _NOT_FINITE]}
NUMBER: Document = {"anyOf": [{"type": "number"}, _NOT_FINITE]}


def components() -> dict[str, Document]:
    """Return every schema that the routes refer to."""
    return {**_requests(), **_sessions(), **_steps(), **_service()}


def ref(name: str) -> Document:
    return {"$ref": f"#/components/schemas/{name}"}


def _settings() -> Document:
    """Return the settings of a session that may be changed."""
    return {
        "hyperparameters": {"type": "object", "description": "What the optimizer has.", "anyOf": _optimizers()},
        "groups": {"type": ["array", "null"], "items": ref("Group")},
        "schedule": {"oneOf": [*_schedules(), {"type": "null"}]},
        "clip": {"oneOf": [field_schema(Clip), {"type": "null"}]},
        "on_other_params": {
            "type": "string",
            "enum": list(get_args(OnOtherParams)),
            "default": "warn",
            "description": "Where a step's parameters are not those that were answered last.",
        },
        "ttl_seconds": {"type": ["number", "null"], "exclusiveMinimum": 0},
        "labels": {"type": ["object", "null"], "additionalProperties": TEXT},
    }


def _fixed_settings() -> Document:
    """Return those that stay as they were created."""
    return {
        "optimizer": {"type": "string", "enum": list(OPTIMIZERS)},
        "on_non_finite": {"type": "string", "enum": ["reject", "skip"], "default": "reject"},
        "hold_params": {"type": "boolean", "default": False},
        "wire_dtype": {
            "type": ["string", "null"],
            "enum": [None, *get_args(WireDtype)],
            "default": None,
            "description": "In which what the session holds as float32 may travel. Needs `hold_params`.",
        },
    }


def _session() -> Document:
    return {
        **dict.fromkeys(("id", "optimizer", "on_non_finite", "digest", "created_at", "updated_at"), TEXT),
        "hyperparameters": {"type": "object"},
        "groups": {"type": "array", "items": ref("Group")},
        "schedule": {"type": ["object", "null"]},
        "clip": {"type": ["object", "null"]},
        "hold_params": FLAG,
        "wire_dtype": {"type": ["string", "null"]},
        "on_other_params": TEXT,
        "step": WHOLE,
        "skipped_steps": WHOLE,
        "warnings": {"type": "array", "items": TEXT},
        "ttl_seconds": {"type": ["number", "null"]},
        "labels": {"type": "object", "additionalProperties": TEXT},
        "expires_at": {"type": ["string", "null"]},
    }


def _requests() -> dict[str, Document]:
    settings = _settings()
    return {
        "CreateSession": _object({**_fixed_settings(), **settings}, required=["optimizer"]),
        "UpdateSession": _object(
            settings
            | {
                "hyperparameters": {"type": ["object", "null"]},
                "schedule": {"type": ["object", "null"]},
                "on_other_params": {"type": ["string", "null"], "enum": [None, *get_args(OnOtherParams)]},
                "labels": {"type": ["object", "null"], "additionalProperties": {"type": ["string", "null"]}},
            },
            required=[],
        ),
        "TensorEdits": _object(
            {
                "rename": {"type": "object", "additionalProperties": TEXT, "description": "New names by old ones."},
                "remove": {"type": "array", "items": TEXT, "description": "To be forgotten."},
                "reset": {"type": "array", "items": TEXT, "description": "To begin anew: no moments, no updates."},
            },
            required=[],
        ),
        "Group": {
            "type": "object",
            "properties": {"match": {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1}},
            "required": ["match"],
            "description": "Patterns on the tensors' names, and the hyperparameters that are theirs.",
        },
    }


def _sessions() -> dict[str, Document]:
    session = _session()
    return {
        "Session": _object(
            {**session, "tensors": {"type": "object", "additionalProperties": ref("SeenTensor")}},
        ),
        "SessionSummary": _object({**session, "tensor_count": WHOLE, "state_bytes": WHOLE}),
        "SeenTensor": _object(
            {
                "shape": {"type": "array", "items": WHOLE},
                "dtype": TEXT,
                "step": WHOLE,
                "group": {"type": ["integer", "null"]},
            }
        ),
        "SessionList": _object(
            {
                "sessions": {"type": "array", "items": ref("SessionSummary")},
                "unreadable": {
                    "type": "array",
                    "items": _object({"id": TEXT, "code": {"type": "string", "enum": sorted(ERRORS)}}),
                    "description": "Where there are any: damaged ones, or such as a newer version wrote.",
                },
                "next_cursor": {"type": ["string", "null"]},
            },
            required=["sessions", "next_cursor"],
        ),
    }


def _steps() -> dict[str, Document]:
    tensors = {"type": "object", "additionalProperties": ref("Tensor")}
    metrics = _object(dict.fromkeys(METRICS, NUMBER))
    return {
        "Tensor": _tensor({"type": "number"}),
        "Gradient": _tensor(_SPECIAL_NUMBER) | {"description": "null as a whole: left out, with its parameter."},
        "Step": _object(
            {
                "step": {"type": ["integer", "null"], "minimum": 1, "description": "The number that it will get."},
                "params": tensors,
                "grads": {"type": "object", "additionalProperties": ref("Gradient"), "minProperties": 1},
                "lr": {"type": ["number", "null"], "minimum": 0, "description": "For this step alone."},
                "loss": {"anyOf": [*NUMBER["anyOf"], {"type": "null"}], "description": "Recorded in the history."},
            },
            required=["grads"],
        ),
        "StepAnswer": _object(
            {
                "step": WHOLE,
                "params": tensors,
                "skipped": FLAG,
                "digest": TEXT,
                "params_digest": {"type": "string", "description": "Of these parameters: to compare, not to compute."},
                "metrics": metrics,
                "warnings": {"type": "array", "items": TEXT, "description": "What may be wrong, though it was taken."},
            }
        ),
        "Params": _object({"params": tensors}),
        "History": _object({"history": {"type": "array", "items": ref("HistoryRow")}}),
        "HistoryRow": _object(
            {
                "step": WHOLE,
                "loss": {"anyOf": [*NUMBER["anyOf"], {"type": "null"}]},
                **dict.fromkeys(METRICS, NUMBER),
                "skipped": FLAG,
                "duration_ms": {"type": "number"},
                "time": TEXT,
            }
        ),
    }


def _service() -> dict[str, Document]:
    return {
        "Liveness": _object({"status": TEXT}),
        "Readiness": _object({"status": TEXT, "store": TEXT, "kernel": TEXT, "version": TEXT}),
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


def _tensor(number: Document) -> Document:
    typed = {
        "dtype": {"type": "string", "enum": ["float64", "float32", "float16", "bfloat16"]},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
    }
    return {
        "anyOf": [
            number,
            {"type": "array", "description": "A nested list, float32.", "items": {}},
            _object({**typed, "data": {"type": "array", "items": number}}),
            _object({**typed, "base64": {"type": "string", "description": "Little-endian."}}),
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


def _object(properties: Document, required: list[str] | None = None) -> Document:
    needed = list(properties) if required is None else required
    schema: Document = {"type": "object", "additionalProperties": False, "properties": properties}
    return schema | ({"required": needed} if needed else {})
