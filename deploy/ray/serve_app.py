"""The service on Ray Serve: replicas over one Redis or Cluster, of which any may take any step.

Each replica reads its settings from the environment of its node, as `optim serve` does. Requests of one session go to
one replica, which then finds the session's state in its memory. That is speed alone: no replica has what others lack.
"""

import random
import re

import xxhash
from pydantic import BaseModel, ConfigDict, Field
from ray import serve
from ray.serve.config import RequestRouterConfig
from ray.serve.request_router import PendingRequest, RequestRouter, RunningReplica
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.logs import configure_logs
from app.main import create_app
from app.settings import Settings

SESSION = re.compile(rb"/v1/sessions/([0-9a-f]{32})")
"""The path of a request of one session."""
ALONE = {"memory", "lmdb"}
"""The stores of one process, and of one machine."""
ONGOING = 1024
"""The most requests in one replica. The service has limits of its own below that, and answers with a `Retry-After`."""


class Arguments(BaseModel):
    """The arguments of the builder, as `serve run` and Serve's configuration files give them."""

    model_config = ConfigDict(extra="forbid")

    replicas: int = Field(default=2, ge=1)
    cpus: float = Field(default=1.0, gt=0, description="Processors of a replica, by which Ray places it.")


class SessionRouter(RequestRouter):
    """A router that sends the requests of one session to one replica, and to the next one if that is full or gone."""

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """Return the replicas one by one, in an order that is the session's own (rendezvous hashing)."""
        if pending_request is None:
            return [candidate_replicas]
        pending_request.routing_context.should_backoff = True  # when all have been asked
        if (session := session_of(pending_request)) is None:  # of replicas with as many requests, the first is taken
            return [random.sample(candidate_replicas, len(candidate_replicas))]
        weights = {replica: weight(session, replica.replica_id.unique_id) for replica in candidate_replicas}
        return [[replica] for replica in sorted(candidate_replicas, key=lambda replica: weights[replica])]


def session_of(request: PendingRequest) -> bytes | None:
    """Return the session that a request names in its path. Ray's proxy has serialized it; its path is still text."""
    [serialized, *_] = request.args
    found = SESSION.search(serialized) if isinstance(serialized, bytes) else None
    return found and found[1]


def weight(session: bytes, replica: str) -> int:
    """Return a number that is the same in every proxy."""
    return xxhash.xxh3_64_intdigest(session + replica.encode())


def application() -> ASGIApp:
    """Return the application of a replica, with the settings of its node.

    Raises `ValueError` for settings that replicas cannot have.
    """
    settings = Settings()
    if (scheme := settings.store.partition(":")[0]) in ALONE:
        raise ValueError(f"OPTIM_STORE is {scheme}:, which replicas cannot share: take redis://… or redis+cluster://…")
    if not (settings.has_keys or settings.insecure):
        raise ValueError("there are no API keys: set OPTIM_API_KEYS_FILE, or OPTIM_INSECURE=true for a trial")
    configure_logs(settings.log_level, settings.log_format)
    return _through_ray(create_app(settings))


def _through_ray(app: ASGIApp) -> ASGIApp:
    """Wrap the application so that its answers pass Ray's proxy.

    The proxy adds the field `X-Request-ID` itself, the same one: with two, no client knows its answer. And it takes no
    views of memory, which large bodies are.
    """

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                fields = [(name, value) for name, value in message["headers"] if name.lower() != b"x-request-id"]
                message = {**message, "headers": fields}
            elif isinstance(message.get("body"), memoryview):
                message = {**message, "body": bytes(message["body"])}
            await send(message)

        await app(scope, receive, sent)

    return wrapped


def build(arguments: Arguments) -> serve.Application:
    """Return the application for `serve run deploy.ray.serve_app:build`."""
    deployment = serve.deployment(
        serve.ingress(application)(),
        name="Optim",
        num_replicas=arguments.replicas,
        max_ongoing_requests=ONGOING,
        ray_actor_options={"num_cpus": arguments.cpus},
        request_router_config=RequestRouterConfig(request_router_class=SessionRouter),
    )
    return deployment.bind()
