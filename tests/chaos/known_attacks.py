"""The table of all known attacks, by kind and name."""

from collections.abc import Mapping

from tests.chaos.attacks import Attack
from tests.chaos.body_attacks import BINARY, COMPRESSED, TEXT
from tests.chaos.http_attacks import CHUNKS, FIELDS, HEADS, PATHS, QUERIES

ATTACKS: Mapping[str, Attack] = {
    f"{kind}: {name}": attack
    for kind, attacks in {
        "safetensors": BINARY,
        "JSON": TEXT,
        "compressed": COMPRESSED,
        "head": HEADS,
        "query": QUERIES,
        "path": PATHS,
        "chunks": CHUNKS,
        "field": FIELDS,
    }.items()
    for name, attack in attacks.items()
}
