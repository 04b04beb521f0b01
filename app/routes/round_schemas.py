"""The schemas of workers, contributions and rounds."""

from app.routes.schema_words import FLAG, NUMBER, TEXT, WHOLE, Document, list_of, object_of, ref
from app.wire.codec import LEAST_WEIGHT, MOST_WEIGHT

INSTANT: Document = {"type": ["string", "null"]}
_WEIGHT: Document = {
    "type": ["number", "null"],
    "minimum": LEAST_WEIGHT,
    "maximum": MOST_WEIGHT,
    "default": 1,
    "description": "Such as the number of tokens that the gradients are of.",
}
_BASE_STEP: Document = {
    "type": ["integer", "null"],
    "minimum": 0,
    "description": "The step whose parameters the gradients were computed from.",
}
_PROGRESS: Document = {
    "round": {**WHOLE, "description": "The number of the step that it becomes."},
    "state": {"type": "string", "enum": ["open", "applied"]},
    "have": {**WHOLE, "description": "Contributions that are in."},
    "need": {**WHOLE, "description": "Contributions that the quorum still needs."},
    "closes_at": {**INSTANT, "description": "When it closes at the latest; `null` without a quorum."},
}
_WORKER: Document = {"worker": TEXT, "epoch": WHOLE, "lease_expires_at": TEXT}
_FATE: Document = {
    "worker": TEXT,
    "epoch": WHOLE,
    "weight": {"type": "number"},
    "norm": {**NUMBER, "description": "The norm of its gradients."},
    "fate": {"enum": ["applied", "dropped", None], "description": "`null` while the round is open."},
    "reason": {"enum": ["late", "stale", "fenced", "non_finite"]},
    "seq": WHOLE,
    "staleness": WHOLE,
    "clip_scale": {"type": "number"},
    "digest": {**TEXT, "description": "What identifies it, in the history."},
}


def rounds(step: Document, answer: Document) -> dict[str, Document]:
    """Return the schemas; `step` and `answer` have the members of a step and of its answer."""
    return {
        "Contribution": object_of(
            {
                "epoch": {**WHOLE, "minimum": 1, "description": "The worker's present epoch."},
                **{name: step[name] for name in ("grads", "grad_scale", "loss")},
                "weight": _WEIGHT,
                "base_step": _BASE_STEP,
            },
            required=["epoch", "grads"],
        ),
        "Contributed": {"anyOf": [ref("StepAnswer"), ref("Told")]},
        "AsyncAnswer": object_of(
            {
                **answer,
                "params_digest": {**answer["params_digest"], "type": ["string", "null"]},
                "staleness": {**WHOLE, "description": "Steps that others took since `base_step`."},
            },
            required=[name for name in answer if name != "params"],
        ),
        "Pending": object_of({**_PROGRESS, "state": {"const": "open"}}),
        "Round": object_of(
            {
                **_PROGRESS,
                "step": {"type": ["integer", "null"], "description": "The step that it is; `null` while it is open."},
                "digest": {"type": ["string", "null"], "description": "The session's digest after that step."},
                "contributions": list_of(ref("Fate")),
            }
        ),
        "Fate": object_of(_FATE, required=["worker", "epoch", "weight", "fate"]),
        "Standing": object_of(
            {name: row for name, row in _PROGRESS.items() if name != "state"}
            | {"workers": {**WHOLE, "description": "Those who have joined and not left."}}
        )
        | {"description": "The open round of a session with workers. Its changes leave the `ETag` as it is."},
        "Told": object_of({"round": WHOLE, "fate": {"enum": ["applied", "dropped"]}, "step": WHOLE}),
        "Worker": object_of({**_WORKER, "round": WHOLE, "step": WHOLE, "digest": TEXT}),
        "WorkerList": object_of({"workers": list_of(object_of({**_WORKER, **_last()}))}),
    }


def _last() -> Document:
    """Return what is known of a worker's lease and of its last contribution."""
    lateness = "Seconds from the first contribution of its last round to its own."
    return {
        "expired": {**FLAG, "description": "The lease has ended. The worker may still contribute."},
        "last_round": {"type": ["integer", "null"]},
        "last_contribution_at": INSTANT,
        "lateness_seconds": {"type": ["number", "null"], "description": lateness},
    }
