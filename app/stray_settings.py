"""The variables of the environment that look like settings of the service, and are none."""

import os
import re
from difflib import get_close_matches

from app.settings import LINKED_ADDRESS, Settings

PREFIX = "OPTIM_"
KNOWN = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields} | {"OPTIM_BASE_URL", "OPTIM_API_KEY"}
"""The names of the settings, and those of the client's."""
SERVICE_LINK = re.compile(r"OPTIM_(SERVICE_(HOST|PORT(_.*)?)|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)")
"""The variables that Kubernetes puts into every pod of a namespace that has a Service named `optim`."""


def strays() -> dict[str, str | None]:
    """Return the names that nothing reads, each with the setting whose name is nearest."""
    return {name: _nearest(name) for name in _unknown() if not SERVICE_LINK.fullmatch(name)}


def _nearest(name: str) -> str | None:
    endings = [known.removeprefix(PREFIX) for known in KNOWN]
    return next((PREFIX + ending for ending in get_close_matches(name.removeprefix(PREFIX), endings, n=1)), None)


def has_links() -> bool:
    """Return whether Kubernetes has set variables for a Service of this name."""
    port = os.environ.get("OPTIM_PORT", "").strip()
    return any(map(SERVICE_LINK.fullmatch, _unknown())) or LINKED_ADDRESS.fullmatch(port) is not None


def _unknown() -> list[str]:
    return [name for name in os.environ if name.startswith(PREFIX) and name not in KNOWN]
