"""The loop of the fused kernel that the works need, loaded in the fork server before it starts a process."""

from optim_engine.fused_forms import LOOPS
from optim_engine.machine import load

load(LOOPS[0])
