"""The words of the OpenAPI document: bodies, answers, errors and their examples. Knows no route."""

from collections import defaultdict
from collections.abc import Mapping
from http import HTTPStatus

from app.errors import ERRORS
from app.routes.examples import EXAMPLES
from app.routes.schema_words import Document, ref
from app.routes.schemas import components
from app.wire.codecs import JSON, SAFETENSORS
from app.wire.event_text import MEDIA_TYPE

IF_NONE_MATCH: Document = {
    "name": "If-None-Match",
    "in": "header",
    "required": False,
    "description": "ETags, with commas between them. If the session still has one of them, the answer is 304.",
    "schema": {"type": "string"},
}
IDEMPOTENCY_KEY: Document = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The name of this request. Sent again with the same method, path and body, it changes nothing. A "
    "session knows its last 4,096 keys, and older ones for 24 hours within its last 100,000. The key of a creation is "
    "known for 24 hours at least, and as long as its session lives.",
    "schema": {"type": "string", "maxLength": 257},
    "example": '"9f0c7c6e-step-42"',
}
IF_MATCH: Document = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "description": "ETags, with commas between them, or `*`. If the session has none of them by now, the answer is 412 "
    "and nothing is changed. A request that is sent again with its key gets its answer all the same.",
    "schema": {"type": "string"},
    "example": '"7-0123456789ab"',
}
PREFER: Document = {
    "name": "Prefer",
    "in": "header",
    "required": False,
    "description": "`return=minimal`: the answer has no parameters. Other preferences are ignored.",
    "schema": {"type": "string"},
    "example": "return=minimal",
}
PREFER_WAIT: Document = PREFER | {
    "description": "`wait=25`: wait up to 25 seconds, at most 60, for the round to be a step. `return=minimal`: the "
    "step's answer has no parameters. Other preferences are ignored.",
    "example": "wait=25",
}
LAST_EVENT_ID: Document = {
    "name": "Last-Event-ID",
    "in": "header",
    "required": False,
    "description": "The `id` of the last event that was received: those after it come first. Without it, only what "
    "happens from now on comes.",
    "schema": {"type": "string", "pattern": "^[0-9]{1,19}$"},
    "example": "41",
}
ONCE: Document = {"parameters": [IDEMPOTENCY_KEY, IF_MATCH]}
"""The `openapi_extra` of every write."""
STEPS_ONCE: Document = {"parameters": [IDEMPOTENCY_KEY, IF_MATCH, PREFER]}
"""The `openapi_extra` of a step."""
CONTRIBUTED: Document = {"parameters": [IDEMPOTENCY_KEY, IF_MATCH, PREFER_WAIT]}
"""The `openapi_extra` of a contribution to a round."""
WRITES = ("malformed_header", "precondition_failed", "idempotency_mismatch")
"""The codes that every write may be refused with."""
REPLAYED = {"Idempotent-Replayed": "`true` where the request had been answered before."}
ETAG = {"ETag": "Changes with every change of the session."}
UNCHANGED: dict[int | str, Document] = {304: {"description": "Unchanged: `If-None-Match` has this ETag."}}
WRITTEN = REPLAYED | ETAG
"""The headers of a write's answer."""
PREFERENCE_APPLIED = {"Preference-Applied": "`return=minimal` where the answer has no parameters because of it."}

_BINARY: Document = {"type": "string", "format": "binary"}
_STEP_SECTIONS = (
    "`params/<name>` and `grads/<name>`; beside a gradient `rows/<name>` or `at/<name>` (int64) where it is of some "
    "rows or elements alone, `scale/<name>` (float32) where it is int8. The rest is in `__metadata__`."
)
_BINARY_FORMS: Document = {name: {"schema": _BINARY} for name in (SAFETENSORS.media_type, *SAFETENSORS.also)}
ALWAYS = ("malformed_query", "internal_error")
KEYED = ("unauthenticated", "forbidden", "misdirected", "rate_limited", "store_unavailable")


def json_body(name: str) -> Document:
    return {"requestBody": {"required": True, "content": {JSON.media_type: {"schema": ref(name)}}}}


def tensor_body(name: str) -> Document:
    return {"requestBody": {"required": True, "content": _tensor_content(name) | _BINARY_FORMS}}


def step_body() -> Document:
    """Return the schema of a step, whose gradients may be compressed in its binary form."""
    return _gradients_body("Step", _STEP_SECTIONS)


def contribution_body(name: str = "Contribution") -> Document:
    """Return the schema of a contribution, whose gradients are as those of a step."""
    return _gradients_body(name, _STEP_SECTIONS.replace("`params/<name>` and ", ""))


def _gradients_body(name: str, sections: str) -> Document:
    binary = {"schema": {**_BINARY, "description": sections}}
    content = _tensor_content(name) | dict.fromkeys(_BINARY_FORMS, binary)
    return {"requestBody": {"required": True, "content": content}}


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
    """Return the schema of a successful answer, and of an error for each status of the codes."""
    content = {JSON.media_type: {"schema": ref(name)}} if name else None
    return _answers(status, content, codes, headers, keyed)


def also(status: int, name: str, headers: Mapping[str, str] | None = None) -> dict[int | str, Document]:
    """Return the schema of another successful answer."""
    content = {JSON.media_type: {"schema": ref(name)}}
    return {status: _success(status, content, headers)}


def written(
    status: int, name: str | None, *codes: str, headers: Mapping[str, str] | None = None, has_etag: bool = True
) -> dict[int | str, Document]:
    """Return the same for a write. A write that leaves no session has no ETag and is not replayed."""
    return answers(status, name, *WRITES, *codes, headers={**(headers or {}), **(WRITTEN if has_etag else {})})


def tensor_answers(name: str, *codes: str, headers: Mapping[str, str] | None = None) -> dict[int | str, Document]:
    """Return the same in each form of tensors."""
    return _answers(200, _tensor_content(name), codes, headers, True)


def file_answer(*codes: str) -> dict[int | str, Document]:
    return _answers(200, {SAFETENSORS.media_type: {"schema": _BINARY}}, codes, None, True)


def text_answer(words: str, *codes: str) -> dict[int | str, Document]:
    return _answers(200, {"text/plain": {"schema": {"type": "string", "description": words}}}, codes, None, False)


def event_answer(*codes: str) -> dict[int | str, Document]:
    """Return the schema of server-sent events, and of an error for each status of the codes."""
    words = "Events as the HTML standard defines them: `event`, `id`, and `data` with JSON on one line."
    return _answers(200, {MEDIA_TYPE: {"schema": {"type": "string", "description": words}}}, codes, None, True)


def completed(schema: Document) -> Document:
    """Return FastAPI's schema with the parts that it does not know (bodies that routes read themselves) or would drop
    (nulls in examples)."""
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


def _answers(
    status: int, content: Document | None, codes: tuple[str, ...], headers: Mapping[str, str] | None, keyed: bool
) -> dict[int | str, Document]:
    by_status: dict[int, list[str]] = defaultdict(list)
    for code in (*codes, *(KEYED if keyed else ()), *ALWAYS):
        by_status[ERRORS[code].status].append(code)
    found: dict[int | str, Document] = {status: _success(status, content, headers)}
    for error, names in sorted(by_status.items()):
        found[error] = _problem(names)
    return found


def _success(status: int, content: Document | None, headers: Mapping[str, str] | None) -> Document:
    success: Document = {"description": HTTPStatus(status).phrase} | ({"content": content} if content else {})
    if headers:
        success["headers"] = {
            name: {"description": words, "schema": {"type": "string"}} for name, words in headers.items()
        }
    return success


def _problem(codes: list[str]) -> Document:
    examples = {code: {"value": ERRORS[code]("…").problem()} for code in codes}
    content = {"application/problem+json": {"schema": ref("Problem"), "examples": examples}}
    return {"description": " · ".join(f"`{code}`: {ERRORS[code].title}" for code in codes), "content": content}


def _tensor_content(name: str) -> Document:
    return {
        JSON.media_type: {"schema": ref(name)},
        SAFETENSORS.media_type: {"schema": _BINARY},
    }
