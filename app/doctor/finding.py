"""A finding of the doctor."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """The level of a finding. A `WARNING` costs time or durability some day; a `PROBLEM` does now."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """The finding of one check, with the way out unless it is `OK`; `is_away`: what was looked at does not answer."""

    check: str
    level: Level
    found: str
    way_out: str | None = None
    is_away: bool = False

    def document(self) -> dict[str, str | None]:
        """Return the finding for programs."""
        return {"check": self.check, "level": self.level.value, "found": self.found, "way_out": self.way_out}


def ok(check: str, found: str) -> Finding:
    """Return what a check found where all is well."""
    return Finding(check, Level.OK, found)


def warning(check: str, found: str, way_out: str) -> Finding:
    """Return what may cost time or durability some day."""
    return Finding(check, Level.WARNING, found, way_out)


def problem(check: str, found: str, way_out: str) -> Finding:
    """Return what costs time or durability now."""
    return Finding(check, Level.PROBLEM, found, way_out)


def away(check: str, error: Exception, way_out: str) -> Finding:
    """Return that a store or a service does not answer; the notes of the error go before the way out."""
    return Finding(check, Level.PROBLEM, str(error), next(iter(getattr(error, "__notes__", ())), way_out), is_away=True)
