"""Sessions and clients as people see them: one line and a small table, without a secret and without a call."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from optim_client import AsyncClient, Client, Session
from optim_client._repr import facts, line, table
from optim_client.documents import SessionInfo

from tests.client.conftest import Connect
from tests.client.documents import SESSION, W
from tests.client.scripted import SESSION_ANSWER, STEPPED, ScriptedServer, session_of


def test_a_session_says_in_one_line_what_is_known(connect: Connect) -> None:
    with ScriptedServer(SESSION_ANSWER, STEPPED) as server:
        session = session_of(connect(server.url.replace("//", "//user:secret@", 1)))
        target = getattr(session, "_target", session)
        kind = type(target).__name__
        assert repr(target) == f"<{kind} s-1 adamw at step 41, lr 0.001, 1 tensor of 8 bytes, {server.url}>"
        session.step(W, W, loss=np.float32(0.25))
        assert repr(target) == f"<{kind} s-1 adamw at step 42, loss 0.25, lr 0.001, 1 tensor of 8 bytes, {server.url}>"
    assert len(server.seen) == 2


def test_a_table_is_escaped_and_small(connect: Connect) -> None:
    session = connect("memory:").sessions.create("sgd", labels={"<b>": "&" * 200})
    shown = session._repr_html_()
    assert "<tr><th>labels</th><td>&lt;b&gt;=&amp;&amp;" in shown
    assert shown.count("&amp;") == 95
    assert f" {session.id}</caption><tr><th>optimizer</th><td>sgd</td></tr><tr><th>step</th><td>0</td></tr>" in shown
    assert "<tr><th>address</th><td>memory:</td></tr>" in shown


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"tensors": {}, "skipped_steps": 3}, "lr 0.001, 3 skipped"),
        ({"hyperparameters": {"lr": None}, "tensors": {}}, "step 41"),
        ({"tensors": {}, "tensor_count": 2, "state_bytes": 12_345_678}, "lr 0.001, 2 tensors, state of 12.35 MB"),
        ({"tensors": {}, "tensor_count": 1, "state_bytes": 10**16}, "lr 0.001, 1 tensor, state of 1e+04 TB"),
    ],
)
def test_a_line_leaves_out_what_is_unknown(members: dict[str, Any], said: str) -> None:
    info = SessionInfo.read(SESSION | members)
    assert line("Session", "s-1", facts(info, None, None, "")).endswith(f"{said}>")


def test_every_dtype_has_its_bytes() -> None:
    with Client("memory:") as client:
        session = client.sessions.create("sgd", hold_params=True)
        dtypes = (np.float64, np.float32, np.float16, ml_dtypes.bfloat16)
        session.put_params({str(number): np.zeros((3, 5), dtype) for number, dtype in enumerate(dtypes)})
        session.get()
        assert "4 tensors of 240 bytes" in repr(session)


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_client_says_its_address_without_a_secret(kind: Any) -> None:
    client = kind("http://user:secret@host/optim", api_key="key", max_retries=3)
    assert repr(client) == f"<{kind.__name__} of http://host/optim, retries 3 times>"
    assert repr(client.sessions) == f"<{type(client.sessions).__name__} of {client!r}>"


def test_a_table_names_its_kind() -> None:
    assert table(Session.__name__, "<s>", {"step": "1"}) == (
        "<table><caption>Session &lt;s&gt;</caption><tr><th>step</th><td>1</td></tr></table>"
    )
