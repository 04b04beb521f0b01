"""A small load: steps and their replays, errors, and rounds of two workers."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from threading import Event

from httpx2 import Client, Response

GRADS = {"w": [0.5, -0.5]}
PAUSE_SECONDS = 0.05


class Load:
    """The requests to one service."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._step = 0
        self._session = self._created({"optimizer": "adam"})
        workers = {"expected": 2, "quorum": 2}
        self._shared = self._created({"optimizer": "sgd", "hold_params": True, "workers": workers})
        self._ask("PUT", f"{self._shared}/params", {"params": {"w": [1, 2]}})
        names = "one", "other"
        self._epochs = {name: self._ask("PUT", f"{self._shared}/workers/{name}", {}).json()["epoch"] for name in names}

    def _created(self, settings: dict[str, object]) -> str:
        return f"/v1/sessions/{self._ask('POST', '/v1/sessions', settings).json()['id']}"

    def _ask(self, method: str, path: str, body: object) -> Response:
        answer = self._client.request(method, path, json=body)
        assert answer.is_success, answer.text
        return answer

    def turn(self) -> None:
        """Send each kind of request once."""
        self._step += 1
        step = {"step": self._step, "params": {"w": [1, 2]}, "grads": GRADS}
        for _ in range(2):
            self._ask("POST", f"{self._session}/steps", step)
        for name, epoch in self._epochs.items():
            place = f"{self._shared}/rounds/{self._step}/contributions/{name}"
            self._ask("PUT", place, {"epoch": epoch, "weight": 1, "grads": GRADS})
        assert self._client.get("/v1/sessions/none").status_code == 404

    def run(self, ended: Event) -> None:
        """Send requests until the end."""
        while not ended.wait(PAUSE_SECONDS):
            self.turn()


@contextmanager
def under_load(*urls: str) -> Iterator[None]:
    """Load the services for a block."""
    ended = Event()
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(base_url=url, timeout=30)) for url in urls]
        with ThreadPoolExecutor() as pool:
            loads = [pool.submit(Load(client).run, ended) for client in clients]
            try:
                yield
            finally:
                ended.set()
            for load in loads:
                load.result()
