"""The words of the OpenAPI schema: bodies, answers, errors and their examples. What the routes do is not here."""

from collections import defaultdict
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, get_args

from app.errors import ERRORS
from app.routes.examples import EXAMPLES
from app.wire.codecs import JSON, SAFETENSORS
from optim_engine.clipping import Clip
from optim_engine.config import OnOtherParams, WireDtype
from optim_engine.fields import field_schema
from optim_engine.hyperparameters import HYPERPARAMETERS
from optim_engine.schedules import SCHEDULES

Document = dict[str, Any]

IF_NONE_MATCH: Document = {
    "name": "If-None-Match",
    "in": "header",
    "required": False,
    "description": "ETags, with commas between them: where the session still has one of them, the answer is 304.",
    "schema": {"type": "string"},
}
IDEMPOTENCY_KEY: Document = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Names this request: sent again, with the same method, path and body, it changes nothing. The last "
    "4,096 keys of a session are known, and older ones for 24 hours within its last 100,000; that of a creation for 24 "
    "hours at least, and as long as its session lives.",
    "schema": {"type": "string", "maxLength": 257},
    "example": '"9f0c7c6e-step-42"',
}
IF_MATCH: Document = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "description": "ETags, with commas between them, or `*`: where the session has none of them by now, the answer is "
    "412 and nothing is changed. Whoever sends the same request again with its key gets its answer all the same.",
    "schema": {"type": "string"},
    "example": '"7-0123456789ab"',
}
ONCE: Document = {"parameters": [IDEMPOTENCY_KEY, IF_MATCH]}
"""For `openapi_extra` of every write."""
WRITES = ("malformed_header", "precondition_failed", "idempotency_mismatch")
"""What every write may be refused for."""
REPLAYED = {"Idempotent-Replayed": "`true` where the request had been answered before."}
ETAG = {"ETag": "Changes with every change of the session."}
WRITTEN = REPLAYED | ETAG
"""The headers of a write's answer."""

_NOT_FINITE: Document = {"type": "string", "enum": ["NaN", "Infinity", "-Infinity"]}
_SPECIAL_NUMBER: Document = {"anyOf": [{"type": "number"}, {"type": "null"}, _NOT_FINITE]}
_BINARY: Document = {"type": "string", "format": "binary"}
_BINARY_FORMS: Document = {name: {"schema": _BINARY} for name in (SAFETENSORS.media_type, *SAFETENSORS.also)}
METRICS = tuple(EXAMPLES["StepAnswer"]["metrics"])
ALWAYS = ("malformed_query", "internal_error")
KEYED = ("unauthenticated", "forbidden", "misdirected", "rate_limited", "store_unavailable")


def json_body(name: str) -> Document:
    return {"requestBody": {"required": True, "content": {JSON.media_type: {"schema": _ref(name)}}}}


def tensor_body(name: str) -> Document:
    return {"requestBody": {"required": True, "content": _tensor_content(name) | _BINARY_FORMS}}


def json_or_file_body(name: str) -> Document:
    content = json_body(name)["requestBody"]["content"] | _BINARY_FORMS
    return {"requestBody": {"required": True, "content": content}}


def file_body() -> Document:
    return {"requestBody": {"required": True, "content": _BINARY_FORMS}}


def answers(
    status: int,
    name: str | None,
    *codes: str,
    headers: Mapping[str, str] | None = None,
    keyed: bool = True,
) -> dict[int | str, Document]:
    """The successful answer, and one for each status that the codes stand for."""
    content = {JSON.media_type: {"schema": _ref(name)}} if name else None
    return _answers(status, content, codes, headers, keyed)


def written(
    status: int, name: str | None, *codes: str, headers: Mapping[str, str] | None = None, has_etag: bool = True
) -> dict[int | str, Document]:
    """The same for a write; one that leaves no session has no ETag and is not answered again."""
    return answers(status, name, *WRITES, *codes, headers={**(headers or {}), **(WRITTEN if has_etag else {})})


def tensor_answers(name: str, *codes: str, headers: Mapping[str, str] | None = None) -> dict[int | str, Document]:
    """The same, in each form that tensors have."""
    return _answers(200, _tensor_content(name), codes, headers, True)


def file_answer(*codes: str) -> dict[int | str, Document]:
    return _answers(200, {SAFETENSORS.media_type: {"schema": _BINARY}}, codes, None, True)


def text_answer(words: str, *codes: str) -> dict[int | str, Document]:
    return _answers(200, {"text/plain": {"schema": {"type": "string", "description": words}}}, codes, None, False)


def completed(schema: Document) -> Document:
    """FastAPI's schema with what it does not know (bodies that are read by hand) or would drop (examples' nulls)."""
    security = {"key": {"type": "http", "scheme": "bearer"}}
    schema |= {
        "components": {"schemas": components(), "securitySchemes": security},
        "security": [{}, {"key": []}],
    }
    for operation in (operation for path in schema["paths"].values() for operation in path.values()):
        answers = operation["responses"]
        if "HTTPValidationError" in str(answers.get("422", "")):
            del answers["422"]
        for body in (operation.get("requestBody", {}), *answers.values()):
            _give_example(body.get("content", {}).get(JSON.media_type))
    return schema


def _give_example(form: Document | None) -> None:
    if form:
        form["example"] = EXAMPLES[form["schema"]["$ref"].rpartition("/")[2]]


def components() -> dict[str, Document]:
    """Every schema that the routes refer to."""
    number = {"anyOf": [{"type": "number"}, _NOT_FINITE]}
    text, whole, flag = {"type": "string"}, {"type": "integer"}, {"type": "boolean"}
    tensors = {"type": "object", "additionalProperties": _ref("Tensor")}
    metrics = _object(dict.fromkeys(METRICS, number))
    settings = {
        "hyperparameters": {"type": "object", "description": "What the optimizer has.", "anyOf": _optimizers()},
        "groups": {"type": ["array", "null"], "items": _ref("Group")},
        "schedule": {"oneOf": [*_schedules(), {"type": "null"}]},
        "clip": {"oneOf": [field_schema(Clip), {"type": "null"}]},
        "on_other_params": {
            "type": "string",
            "enum": list(get_args(OnOtherParams)),
            "default": "warn",
            "description": "Where a step's parameters are not those that were answered last.",
        },
        "ttl_seconds": {"type": ["number", "null"], "exclusiveMinimum": 0},
        "labels": {"type": ["object", "null"], "additionalProperties": text},
    }
    fixed = {
        "optimizer": {"type": "string", "enum": list(HYPERPARAMETERS)},
        "on_non_finite": {"type": "string", "enum": ["reject", "skip"], "default": "reject"},
        "hold_params": {"type": "boolean", "default": False},
        "wire_dtype": {
            "type": ["string", "null"],
            "enum": [None, *get_args(WireDtype)],
            "default": None,
            "description": "In which what the session holds as float32 may travel. Needs `hold_params`.",
        },
    }
    session = {
        **dict.fromkeys(("id", "optimizer", "on_non_finite", "digest", "created_at", "updated_at"), text),
        "hyperparameters": {"type": "object"},
        "groups": {"type": "array", "items": _ref("Group")},
        "schedule": {"type": ["object", "null"]},
        "clip": {"type": ["object", "null"]},
        "hold_params": flag,
        "wire_dtype": {"type": ["string", "null"]},
        "on_other_params": text,
        "step": whole,
        "skipped_steps": whole,
        "warnings": {"type": "array", "items": text},
        "ttl_seconds": {"type": ["number", "null"]},
        "labels": {"type": "object", "additionalProperties": text},
        "expires_at": {"type": ["string", "null"]},
    }
    return {
        "CreateSession": _object({**fixed, **settings}, required=["optimizer"]),
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
                "rename": {"type": "object", "additionalProperties": text, "description": "New names by old ones."},
                "remove": {"type": "array", "items": text, "description": "To be forgotten."},
                "reset": {"type": "array", "items": text, "description": "To begin anew: no moments, no updates."},
            },
            required=[],
        ),
        "Group": {
            "type": "object",
            "properties": {"match": {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1}},
            "required": ["match"],
            "description": "Patterns on the tensors' names, and the hyperparameters that are theirs.",
        },
        "Session": _object(
            {**session, "tensors": {"type": "object", "additionalProperties": _ref("SeenTensor")}},
        ),
        "SessionSummary": _object({**session, "tensor_count": whole, "state_bytes": whole}),
        "SeenTensor": _object(
            {
                "shape": {"type": "array", "items": whole},
                "dtype": text,
                "step": whole,
                "group": {"type": ["integer", "null"]},
            }
        ),
        "SessionList": _object(
            {
                "sessions": {"type": "array", "items": _ref("SessionSummary")},
                "unreadable": {
                    "type": "array",
                    "items": _object({"id": text, "code": {"type": "string", "enum": sorted(ERRORS)}}),
                    "description": "Where there are any: damaged ones, or such as a newer version wrote.",
                },
                "next_cursor": {"type": ["string", "null"]},
            },
            required=["sessions", "next_cursor"],
        ),
        "Tensor": _tensor({"type": "number"}),
        "Gradient": _tensor(_SPECIAL_NUMBER) | {"description": "null as a whole: left out, with its parameter."},
        "Step": _object(
            {
                "step": {"type": ["integer", "null"], "minimum": 1, "description": "The number that it will get."},
                "params": tensors,
                "grads": {"type": "object", "additionalProperties": _ref("Gradient"), "minProperties": 1},
                "lr": {"type": ["number", "null"], "minimum": 0, "description": "For this step alone."},
                "loss": {"anyOf": [*number["anyOf"], {"type": "null"}], "description": "Recorded in the history."},
            },
            required=["grads"],
        ),
        "StepAnswer": _object(
            {
                "step": whole,
                "params": tensors,
                "skipped": flag,
                "digest": text,
                "params_digest": {"type": "string", "description": "Of these parameters: to compare, not to compute."},
                "metrics": metrics,
                "warnings": {"type": "array", "items": text, "description": "What may be wrong, though it was taken."},
            }
        ),
        "Params": _object({"params": tensors}),
        "History": _object({"history": {"type": "array", "items": _ref("HistoryRow")}}),
        "HistoryRow": _object(
            {
                "step": whole,
                "loss": {"anyOf": [*number["anyOf"], {"type": "null"}]},
                **dict.fromkeys(METRICS, number),
                "skipped": flag,
                "duration_ms": {"type": "number"},
                "time": text,
            }
        ),
        "Liveness": _object({"status": text}),
        "Readiness": _object({"status": text, "store": text, "kernel": text, "version": text}),
        "Problem": {
            "type": "object",
            "description": "RFC 9457; further members depend on the code.",
            "properties": {
                "type": text,
                "title": text,
                "status": whole,
                "detail": text,
                "code": {"type": "string", "enum": sorted(ERRORS)},
            },
            "required": ["type", "title", "status", "detail", "code"],
        },
    }


def _answers(
    status: int, content: Document | None, codes: tuple[str, ...], headers: Mapping[str, str] | None, keyed: bool
) -> dict[int | str, Document]:
    success: Document = {"description": HTTPStatus(status).phrase} | ({"content": content} if content else {})
    if headers:
        success["headers"] = {
            name: {"description": words, "schema": {"type": "string"}} for name, words in headers.items()
        }
    by_status: dict[int, list[str]] = defaultdict(list)
    for code in (*codes, *(KEYED if keyed else ()), *ALWAYS):
        by_status[ERRORS[code].status].append(code)
    found: dict[int | str, Document] = {status: success}
    for error, names in sorted(by_status.items()):
        found[error] = _problem(names)
    return found


def _problem(codes: list[str]) -> Document:
    examples = {code: {"value": ERRORS[code]("…").problem()} for code in codes}
    content = {"application/problem+json": {"schema": _ref("Problem"), "examples": examples}}
    return {"description": " · ".join(f"`{code}`: {ERRORS[code].title}" for code in codes), "content": content}


def _tensor_content(name: str) -> Document:
    return {
        JSON.media_type: {"schema": _ref(name)},
        SAFETENSORS.media_type: {"schema": _BINARY},
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
    return [{"title": name, **field_schema(kind)} for name, kind in HYPERPARAMETERS.items()]


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


def _ref(name: str) -> Document:
    return {"$ref": f"#/components/schemas/{name}"}
