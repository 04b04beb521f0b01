"""The health of a session's tensors: norms that are computed from its state, and the last updates that it keeps.

Pure: no I/O, no clock.
"""

from typing import Any

from app import last_updates, plain
from app.session import Loaded
from optim_engine.health import Health, health_of
from optim_engine.machine import Machine


def health(loaded: Loaded, machine: Machine) -> dict[str, Any]:
    """Return the health of each tensor as JSON has it, with the number of the session's last step."""
    session, found = loaded.session, health_of(loaded.session.config, loaded.state, machine)
    updates = last_updates.norms(session)
    return {
        "step": session.step,
        "tensors": {name: _written(found, name, updates[name]) for name in session.layout.entries},
    }


def _written(found: Health, name: str, update_norm: float | None) -> dict[str, float | str | None]:
    param_norm = found.param_norms.get(name)
    return {
        "param_norm": plain.number(param_norm),
        "m_norm": plain.number(found.m_norms.get(name)),
        "v_norm": plain.number(found.v_norms.get(name)),
        "update_norm": plain.number(update_norm),
        "update_to_weight": plain.number(_ratio(update_norm, param_norm)),
        "zero_share": found.zero_shares.get(name),
    }


def _ratio(update_norm: float | None, param_norm: float | None) -> float | None:
    """Return the update's norm in the parameter's; `None` if one is not known, or the parameter is 0."""
    return None if update_norm is None or not param_norm else update_norm / param_norm
