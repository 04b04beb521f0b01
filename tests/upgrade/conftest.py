"""Fixtures: the service computes with the fused kernel."""

from tests.fused import fused_at_once

__all__ = ["fused_at_once"]
