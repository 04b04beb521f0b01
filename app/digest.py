"""The digest of a session, and the written settings and tensors that it is made of, which the document has too.

Most steps change only the counts, so the settings and the rest of a tensor's row are written once and kept.
"""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import orjson

from app.store.piece import Piece, checksum_of
from optim_engine import Config, Layout


def digest_of(config: Config, step: int, layout: Layout, counts: Mapping[str, int], pieces: Sequence[Piece]) -> str:
    """Return the name of a whole state: settings, counts, and the bytes by their checksums. 32 hexadecimal digits."""
    checksums = [piece.checksum for piece in pieces]
    whole = {
        "pieces": checksum_of("".join(checksums).encode()) if config.lazy_groups else checksums,
        "settings": written_config(config).settings,
        "step": step,
        "tensors": written_tensors(layout, counts),
    }
    return blake2b(orjson.dumps(whole), digest_size=16).hexdigest()


def write_config(config: Config) -> dict[str, Any]:
    """Return what `Config.parse` makes the same configuration of; default groups stay the default."""
    return config.to_dict() | ({"groups": None} if config.given_groups is None else {})


class WrittenConfig(NamedTuple):
    """The settings, written for a document and for a digest."""

    config: orjson.Fragment
    settings: orjson.Fragment


_CONFIGS: WeakKeyDictionary[Config, WrittenConfig] = WeakKeyDictionary()


def written_config(config: Config) -> WrittenConfig:
    """Return the settings, written."""
    written = _CONFIGS.get(config)
    if written is None:
        settings = orjson.dumps(config.to_dict(), option=orjson.OPT_SORT_KEYS)
        document = orjson.dumps(write_config(config))
        written = _CONFIGS[config] = WrittenConfig(orjson.Fragment(document), orjson.Fragment(settings))
    return written


_ROWS: WeakKeyDictionary[Layout, list[tuple[str, bytes]]] = WeakKeyDictionary()


def written_tensors(layout: Layout, counts: Mapping[str, int]) -> orjson.Fragment:
    """Return rows of name, shape, dtype, slots and count."""
    rows = _ROWS.get(layout)
    if rows is None:
        rows = _ROWS[layout] = [
            (name, orjson.dumps([name, entry.spec.shape, entry.spec.dtype.name, entry.slots])[:-1])
            for name, entry in layout.entries.items()
        ]
    return orjson.Fragment(b"[%s]" % b",".join([b"%s,%d]" % (row, counts[name]) for name, row in rows]))
