"""Examples of bodies by the names of their schemas. The tests send those of requests and compare those of answers."""

from collections.abc import Mapping
from typing import Any

from app.session import BESIDE
from optim_engine import Config
from optim_engine.optimizers import described

_SESSION: dict[str, Any] = {
    "id": "18e9e9f6f27c70c9ceed23ba6f44828e",
    **Config.parse("adamw").effective(),
    "step": 41,
    "skipped_steps": 0,
    "rewinds": 0,
    "digest": "6f1c0d3a5be94c7782d0a1f4e3b2c596",
    "tensors": {"w": {"shape": [1, 2], "dtype": "float32", "step": 41, "group": None, "optimizer": "adamw"}},
    "warnings": [],
    **{name: row.default for name, row in BESIDE.items()},
    "created_at": "2026-11-20T12:00:00.000Z",
    "updated_at": "2026-11-20T12:05:31.250Z",
    "expires_at": None,
}
_SUMMARY: dict[str, Any] = {name: value for name, value in _SESSION.items() if name != "tensors"} | {
    "tensor_count": 1,
    "state_bytes": 72,
}
_PARAMS: dict[str, Any] = {"w": [[0.1, 0.2]], "b": [0.0]}
_METRICS: dict[str, Any] = {
    "lr": 0.001, "grad_norm": 0.36069379233022786, "update_norm": 0.0017314779939175224,
    "param_norm": 0.2240580301756709, "clip_scale": 1.0,
}  # fmt: skip

_ANSWER: dict[str, Any] = {
    "step": 42,
    "params": {"w": [[0.098999, 0.20099801]], "b": [-0.0009999999]},
    "skipped": False,
    "digest": "e2c4a8f01b7d49c39d5f6a7788b0c1d2",
    "params_digest": "0f1e2d3c4b5a69788796a5b4c3d2e1f0",
    "metrics": _METRICS,
    "warnings": [],
}

_PROGRESS: dict[str, Any] = {
    "round": 42, "state": "open", "have": 2, "need": 0, "closes_at": "2026-11-20T12:05:33.250Z",
}  # fmt: skip
_LEASE: dict[str, Any] = {"worker": "gpu-3", "epoch": 7, "lease_expires_at": "2026-11-20T12:06:01.250Z"}
_FATES = [
    {"worker": "gpu-1", "epoch": 3, "weight": 4096.0, "norm": 0.36, "fate": "applied"},
    {"worker": "gpu-3", "epoch": 7, "weight": 2048.0, "norm": 0.41, "fate": "applied"},
]

EXAMPLES: Mapping[str, dict[str, Any]] = {
    "CreateSession": {
        "optimizer": "adamw",
        "hyperparameters": {"lr": 0.001, "weight_decay": 0.01},
        "groups": [{"match": ["*bias"], "weight_decay": 0.0}],
        "schedule": {"kind": "warmup_cosine", "warmup_steps": 100, "total_steps": 10000, "min_factor": 0.1},
        "clip": {"global_norm": 1.0},
        "ttl_seconds": 604800,
        "labels": {"run": "mnist-3"},
    },
    "UpdateSession": {"hyperparameters": {"lr": 0.0005}, "labels": {"phase": "fine-tuning"}},
    "ForkSession": {"labels": {"run": "mnist-3", "branch": "lr-0.01"}},
    "Undo": {"step": 42},
    "TensorEdits": {"rename": {"w": "head.w"}, "remove": ["b"], "reset": []},
    "Session": _SESSION,
    "SessionList": {"sessions": [_SUMMARY], "next_cursor": None},
    "Step": {"step": 42, "params": _PARAMS, "grads": {"w": [[0.01, -0.3]], "b": [0.2]}, "loss": 0.53},
    "StepAnswer": _ANSWER,
    "Preview": {**_ANSWER, "preview": True},
    "JoinWorker": {"epoch": 7},
    "Worker": {**_LEASE, "round": 42, "step": 41, "digest": _SESSION["digest"]},
    "WorkerList": {
        "workers": [
            {
                **_LEASE, "expired": False, "last_round": 41, "last_contribution_at": "2026-11-20T12:05:31.250Z",
                "lateness_seconds": 0.4,
            }
        ]
    },
    "Contribution": {
        "epoch": 7, "weight": 2048, "grads": {"w": [[0.01, -0.3]], "b": [0.2]}, "loss": 0.53,
    },
    "Contributed": _ANSWER,
    "AsyncAnswer": {**_ANSWER, "staleness": 2},
    "Pending": _PROGRESS,
    "Round": {
        **_PROGRESS, "state": "applied", "closes_at": None, "step": 42, "digest": _ANSWER["digest"],
        "contributions": _FATES,
    },
    "Params": {"params": _PARAMS},
    "Tensors": {
        "step": 41,
        "tensors": {
            "w": {
                "param_norm": 0.22, "m_norm": 0.031, "v_norm": 0.0009, "update_norm": 0.0017,
                "update_to_weight": 0.0077, "zero_share": 0.0,
            }
        },
    },
    "Rows": {"rows": {"w": [0]}},
    "RowsOfParams": {"params": {"w": {"rows": [0], "data": [[0.1, 0.2]]}}},
    "History": {
        "history": [
            {
                "step": 42, "loss": 0.53, **_METRICS, "skipped": False, "duration_ms": 0.21,
                "time": "2026-11-20T12:05:31.250Z",
            }
        ]
    },
    "Optimizers": {"optimizers": {"adamw": described("adamw")}},
    "Liveness": {"status": "alive"},
    "Readiness": {
        "status": "ready", "store": "lmdb", "replicas": 0, "durability": "an answered step survives a power cut",
        "kernel": "numba", "version": "0.1.0",
    },
}  # fmt: skip
