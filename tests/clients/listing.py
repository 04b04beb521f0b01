"""The listing of `clients/README.md` that writes and reads safetensors, as functions."""

from pathlib import Path
from typing import Any

from tests.docs.blocks import blocks

README = Path(__file__).parents[2] / "clients" / "README.md"
TEXT = blocks(README.read_text(encoding="utf-8"), "python")[0]

_names: dict[str, Any] = {}
exec(compile(TEXT, str(README), "exec"), _names)
read = _names["read"]
write = _names["write"]
