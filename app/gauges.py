"""The metrics whose numbers the parts of the service keep."""

from collections.abc import Callable
from importlib.metadata import version

from app.metrics.families import Family, Gauge, Labels, Tally
from app.occupancy import Occupancy
from app.service import Service
from app.store.usage import Usage


def gauges_of(service: Service) -> list[Family]:
    """Return the families of all parts."""
    return [*_of_work(service), *_of_cache(service), *_of_store(service.occupancy), *_of_setup(service)]


def _of_work(service: Service) -> list[Family]:
    admission, bodies, compute = service.admission, service.bodies, service.compute
    return [
        Gauge("optim_places", "Places for steps and uploads.", lambda: admission.places),
        Gauge("optim_places_taken", "Places that steps and uploads have taken.", lambda: admission.taken),
        Gauge("optim_places_waiting", "Steps and uploads that wait for a place.", lambda: admission.waiting),
        Gauge("optim_body_bytes", "Bytes of the bodies of requests under way.", lambda: bodies.nbytes),
        Gauge("optim_body_limit_bytes", "The most bytes of bodies.", lambda: bodies.limit),
        Gauge("optim_compute_threads", "Threads that compute.", lambda: compute.threads),
        Gauge("optim_compute_calls", "Calls on the threads that compute, and those that wait.", lambda: compute.calls),
        Gauge("optim_event_streams", "Open streams of events.", lambda: service.streams.count),
    ]


def _of_cache(service: Service) -> list[Family]:
    cache = service.records.cache
    return [
        Gauge("optim_cache_sessions", "Sessions whose state is in memory.", lambda: cache.count),
        Gauge("optim_cache_bytes", "Bytes of the sessions in memory.", lambda: cache.nbytes),
        Gauge("optim_cache_limit_bytes", "The most bytes of sessions in memory.", lambda: cache.limit),
        Tally(
            "optim_cache_lookups",
            "States asked for: hit if in memory, miss if read from the store.",
            lambda: {("hit",): cache.hits, ("miss",): cache.misses},
            ("outcome",),
        ),
    ]


def _of_store(occupancy: Occupancy) -> list[Family]:
    def read(part: Callable[[Usage], int | None]) -> Callable[[], int | None]:
        return lambda: None if occupancy.usage is None else part(occupancy.usage)

    return [
        Gauge(name, words, read(part), join="own")
        for name, words, part in (
            ("optim_store_sessions", "Sessions in the store.", lambda usage: usage.sessions),
            ("optim_store_bytes", "Bytes in the store.", lambda usage: usage.nbytes),
            ("optim_store_limit_bytes", "The most bytes of the store.", lambda usage: usage.limit),
            ("optim_store_free_bytes", "Free bytes on the disk of the store.", lambda usage: usage.free),
        )
    ]


def _of_setup(service: Service) -> list[Family]:
    scheme = service.settings.store.partition(":")[0]
    release = version("optim-service")

    def build() -> dict[Labels, float]:
        return {(release, service.compute.kernel, scheme): 1}

    def keys() -> dict[Labels, float]:
        return {(role,): count for role, count in service.keys.count().items()}

    return [
        Gauge("optim_build_info", "The version and kind of the service.", build, ("version", "kernel", "store"), "own"),
        Gauge("optim_keys", "Valid API keys.", keys, ("role",), "own"),
    ]
