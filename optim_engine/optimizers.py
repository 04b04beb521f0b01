"""The table of optimizers. To add one, write its file and add a row here.

Add rows at the end: a state's memory follows the order in which the rules first name their slots (`layout.py`).
"""

from collections.abc import Mapping
from typing import Any

from optim_engine.fields import field_schema
from optim_engine.rule import Rule
from optim_engine.rules.adabelief import AdaBeliefRule
from optim_engine.rules.adadelta import AdadeltaRule
from optim_engine.rules.adafactor import AdafactorRule
from optim_engine.rules.adagrad import AdagradRule
from optim_engine.rules.adam import Adam, AdamRule, AdamW
from optim_engine.rules.adamax import AdamaxRule
from optim_engine.rules.adan import AdanRule
from optim_engine.rules.ademamix import AdEMAMixRule
from optim_engine.rules.asgd import ASGDRule
from optim_engine.rules.lamb import LAMBRule
from optim_engine.rules.lars import LARSRule
from optim_engine.rules.lion import LionRule
from optim_engine.rules.muon import MuonRule
from optim_engine.rules.nadam import NAdamRule
from optim_engine.rules.prodigy import ProdigyRule
from optim_engine.rules.radam import RAdamRule
from optim_engine.rules.rmsprop import RMSpropRule
from optim_engine.rules.rprop import RpropRule
from optim_engine.rules.schedule_free import ScheduleFreeAdamWRule, ScheduleFreeSGDRule
from optim_engine.rules.sgd import SGDRule
from optim_engine.rules.stable_adamw import StableAdamWRule
from optim_engine.rules.yogi import YogiRule

OPTIMIZERS: Mapping[str, Rule[Any]] = {
    "adamw": AdamRule(AdamW),
    "adam": AdamRule(Adam),
    "sgd": SGDRule(),
    "rmsprop": RMSpropRule(),
    "nadam": NAdamRule(),
    "adafactor": AdafactorRule(),
    "muon": MuonRule(),
    "radam": RAdamRule(),
    "adamax": AdamaxRule(),
    "adagrad": AdagradRule(),
    "yogi": YogiRule(),
    "adabelief": AdaBeliefRule(),
    "ademamix": AdEMAMixRule(),
    "asgd": ASGDRule(),
    "rprop": RpropRule(),
    "adan": AdanRule(),
    "lion": LionRule(),
    "adadelta": AdadeltaRule(),
    "lamb": LAMBRule(),
    "lars": LARSRule(),
    "stable_adamw": StableAdamWRule(),
    "schedule_free_adamw": ScheduleFreeAdamWRule(),
    "schedule_free_sgd": ScheduleFreeSGDRule(),
    "prodigy": ProdigyRule(),
}
"""Each optimizer's rule, by the name that a configuration uses."""


def described(optimizer: str) -> dict[str, Any]:
    """Return an optimizer's hyperparameters with their defaults and bounds, the slots that it keeps for a matrix under
    its defaults, where its bits are the same, and its reference, as plain values."""
    rule = OPTIMIZERS[optimizer]
    rows = field_schema(rule.settings)["properties"]
    return {
        "hyperparameters": {name: {"default": row["default"], **row} for name, row in rows.items()},
        "slots": list(rule.slots(rule.settings(), (1, 1))),
        "bits": rule.bits,
        "reference": rule.reference,
    }
