"""The obvious service: FastAPI, typed lists, textbook NumPy, and the moments pickled into Redis.

`make bench` compares it with the JSON of this service on the same Redis. Do not copy the pickle: whoever can write to
that Redis runs code in this process. Start it as `uvicorn benchmarks.peers.plain_fastapi:app`, with `REDIS_URL` in the
environment.
"""

import os
import pickle
from typing import Any

import numpy as np
import redis
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()
store = redis.Redis.from_url(os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0"))

LR, BETA1, BETA2, EPS, WEIGHT_DECAY = 1e-3, 0.9, 0.999, 1e-8, 1e-2

Moments = tuple[int, np.ndarray, np.ndarray]


class StepRequest(BaseModel):
    params: list[float]
    grads: list[float]


class StepAnswer(BaseModel):
    step: int
    params: list[float]


@app.post("/typed/{session_id}/step")
def typed(session_id: str, request: StepRequest) -> StepAnswer:
    """Take a step. FastAPI writes an answer of a known type several times faster."""
    return StepAnswer(**take_step(session_id, request))


@app.post("/untyped/{session_id}/step")
def untyped(session_id: str, request: StepRequest):  # type: ignore[no-untyped-def]
    return take_step(session_id, request)


def take_step(session_id: str, request: StepRequest) -> dict[str, Any]:
    params = np.array(request.params, dtype=np.float32)
    grads = np.array(request.grads, dtype=np.float32)
    saved = store.get(session_id)
    moments = pickle.loads(saved) if saved else (0, np.zeros_like(params), np.zeros_like(params))
    params, moments = adamw(params, grads, moments)
    store.set(session_id, pickle.dumps(moments))
    return {"step": moments[0], "params": params.tolist()}


def adamw(params: np.ndarray, grads: np.ndarray, moments: Moments) -> tuple[np.ndarray, Moments]:
    t, m, v = moments
    t += 1
    m = BETA1 * m + (1 - BETA1) * grads
    v = BETA2 * v + (1 - BETA2) * grads**2
    m_hat = m / (1 - BETA1**t)
    v_hat = v / (1 - BETA2**t)
    params = params - LR * WEIGHT_DECAY * params - LR * m_hat / (np.sqrt(v_hat) + EPS)
    return params, (t, m, v)
