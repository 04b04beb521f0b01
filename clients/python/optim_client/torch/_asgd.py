"""The rate of ASGD: torch computes it at the end of a step, with the settings of that step, for the next one.

A session computes it in the step itself. So a step of `asgd` has the `lr`, `alpha` and `t0` of the group's last step as
overrides. The session's history has the learning rate that the param group has.
"""

import math
from collections.abc import Collection, Mapping
from typing import Any

from optim_client._sessions import Session
from optim_client.torch import _param_groups
from optim_client.torch._kinds import derived
from optim_client.torch._param_groups import ParamGroups, Values

LATE = ("lr", "alpha", "t0")
"""The settings that torch uses one step late."""
NEAR = 1e-6
"""The relative error within which a rate is the one that follows from the settings: torch keeps it in float32."""


class Late:
    """The settings that each group's next step computes its rate with. It is empty for other rules than ASGD."""

    def __init__(self, rule: str) -> None:
        self._is_late = rule == "asgd"
        self._last: dict[int, Values] = {}

    def overrides(self, known: Values, wanted: Values) -> Values:
        """Return the overrides of a step of a session with the settings `known`: those with torch's rates.

        The top-level `lr`, which the session records, is the one that is wanted.
        """
        wants = _param_groups.overrides(known, wanted) or {}
        if not self._last:
            return wants
        groups = (_param_groups.overrides(known, self.settings(wanted)) or {}).get("groups", {})
        return {**{name: wants[name] for name in ("lr",) if name in wants}, **({"groups": groups} if groups else {})}

    def settings(self, wanted: Values) -> Values:
        """Return the settings with those of the last steps where torch uses them."""
        return {**wanted, "groups": self.groups(wanted["groups"])}

    def groups(self, given: ParamGroups) -> list[Values]:
        """Return groups with the settings of their last steps where torch uses them."""
        return [{**group, **self._last.get(i, {})} for i, group in enumerate(given)]

    def took(self, wanted: Values, names: Collection[str]) -> None:
        """Learn that these parameters took a step with these settings."""
        if self._is_late:
            for i in {int(name.partition("/")[0]) for name in names}:
                self._last[i] = {name: wanted["groups"][i][name] for name in LATE}

    def resumed(self, session: Session, known: Values) -> None:
        """Learn the settings of the session's last step from its history.

        It has the learning rate of the first group. The others had theirs by the same factor, as most schedulers do.
        """
        if not self._is_late or not session.info.step:
            return
        rows = [row for row in session.history(last=1) if not row.skipped and not row.undone]
        first = known["groups"][0]["lr"]
        if rows and first:
            for i, group in enumerate(known["groups"]):
                lr = rows[0].lr if group["lr"] == first else group["lr"] * (rows[0].lr / first)
                self._last[i] = {**{name: group[name] for name in LATE}, "lr": lr}

    def loaded(self, state_dict: Mapping[str, Any], wanted: Values) -> None:
        """Learn the rates from a state of torch.

        A rate of another learning rate than the group's is used as it is, with an `alpha` of 0.
        """
        if not self._is_late:
            return
        for i, group in enumerate(wanted["groups"]):
            self._last[i] = {name: group[name] for name in LATE}
            states = [state_dict["state"].get(number) for number in state_dict["param_groups"][i]["params"]]
            kept = [(int(state["step"]), float(state["eta"])) for state in states if state]
            if any(not math.isclose(eta, derived(group, step)["eta"], rel_tol=NEAR) for step, eta in kept):
                self._last[i] |= {"lr": max(kept)[1], "alpha": 0.0}
