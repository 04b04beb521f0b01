"""Adam, AdamW and AMSGrad.

    m ← β₁·m + (1−β₁)·g                     first moment
    v ← β₂·v + (1−β₂)·g²                    second moment
    v_max ← max(v_max, v)                   AMSGrad, which then stands for v below
    θ ← θ − γ·λ·θ                           decoupled weight decay alone
    θ ← θ − γ·m̂ / (√v̂ + ε),   m̂ = m/(1−β₁ᵗ),   v̂ = v/(1−β₂ᵗ)

Adam: Kingma & Ba 2015 (arXiv:1412.6980), algorithm 1. AdamW: Loshchilov & Hutter 2019 (arXiv:1711.05101), with
PyTorch's γ·λ. AMSGrad: Reddi, Kale & Kumar 2018 (arXiv:1904.09237), with PyTorch's maximum of the raw v, corrected
afterwards. Adam's own weight decay is L2: λ·θ is in g already.
"""

from math import sqrt

import numpy as np

from optim_engine.arrays import Array, Arrays
from optim_engine.averages import accumulate, correction
from optim_engine.hyperparameters import Adam, AdamW


def init(h: Adam | AdamW) -> tuple[str, ...]:
    return ("m", "v", "v_max") if h.amsgrad else ("m", "v")


def advance(h: Adam | AdamW, t: int, g: Array, old: Arrays, new: Arrays, tmp: Array) -> None:
    """The moments with the gradient of the tensor's t-th update taken in; `tmp` has its squares."""
    β1, β2 = h.betas
    m, v = new["m"], new["v"]
    accumulate(old["v"], tmp, β2, out=v, scratch=tmp)
    accumulate(old["m"], g, β1, out=m, scratch=tmp)
    if h.amsgrad:
        np.maximum(old["v_max"], v, out=new["v_max"])
        np.add(new["v_max"], 0.0, out=new["v_max"])  # of −0 and 0 either may be the maximum


def apply(h: Adam | AdamW, t: int, γ: float, θ: Array, g: Array, s: Arrays, out: Array, tmp: Array) -> None:
    """The new parameter, in the form of the paper's section 2: γ·√(1−β₂ᵗ)/(1−β₁ᵗ) · m / (√v + ε·√(1−β₂ᵗ))."""
    β1, β2 = h.betas
    m, v = s["m"], s["v_max" if h.amsgrad else "v"]
    bias1, bias2 = correction(β1, t), sqrt(correction(β2, t))
    np.sqrt(v, out=tmp)
    np.add(tmp, h.eps * bias2, out=tmp)
    np.divide(m, tmp, out=tmp)
    np.multiply(tmp, γ * bias2 / bias1, out=tmp)
    if h.decoupled and h.weight_decay:
        np.multiply(θ, 1 - γ * h.weight_decay, out=out)
        np.subtract(out, tmp, out=out)
    else:
        np.subtract(θ, tmp, out=out)
