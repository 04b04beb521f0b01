"""The equations of the fused kernel's rules as LLVM instructions, in the order of the rules' own files.

Each function gets the builder, the gradient and the old values, the coefficients and the flags of
`fused_forms.py`. It returns the new parameter and the new slots. Values are numbers or vectors of them.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from llvmlite import ir
from numba.core import cgutils

Equations: TypeAlias = Callable[..., list["Result"]]


class Result(NamedTuple):
    """A new value, and the flag that says whether it is kept; None if it always is."""

    value: Any
    kept: Any = None


def gradient(b: Any, g: Any, θ: Any, of: Sequence[Any], decays: Any) -> Any:
    """Emit the gradient that the rule sees: with its sign and scale, clipped by value, and decayed as L2."""
    c, bound, λ = of
    g = b.fmul(g, c)
    least = b.fneg(bound)
    g = b.select(b.fcmp_ordered("<", g, least), least, g)
    g = b.select(b.fcmp_ordered(">", g, bound), bound, g)
    return b.select(decays, b.fadd(g, b.fmul(θ, λ)), g)


def adam(b: Any, g: Any, before: Sequence[Any], of: Sequence[Any], flags: Sequence[Any], *, main: bool) -> list[Result]:
    """Emit the equations of `adam.py`; with AMSGrad if `main` is false."""
    β1, rest1, β2, rest2, ε, γ, decay, *_ = of
    θ, m, v, v_max = before
    m, v = _average(b, m, g, β1, rest1), _average(b, v, b.fmul(g, g), β2, rest2)
    if not main:
        kept = b.or_(b.fcmp_ordered(">=", v_max, v), b.fcmp_unordered("uno", v_max, v_max))
        v_max = b.fadd(b.select(kept, v_max, v), _zero(v))
    under = b.fadd(sqrt(b, v if main else v_max), ε)
    result = b.fsub(b.fmul(θ, decay), b.fmul(b.fdiv(m, under), γ))
    return [Result(result), Result(m), Result(v), *([] if main else [Result(v_max)])]


def sgd(b: Any, g: Any, before: Sequence[Any], of: Sequence[Any], flags: Sequence[Any], *, main: bool) -> list[Result]:
    """Emit the equations of `sgd.py`; without momentum if `main` is false."""
    μ, rest, γ, *_ = of
    θ, m, *_ = before
    first, nesterov, *_ = flags
    if not main:
        return [Result(b.fsub(θ, b.fmul(g, γ)))]
    m = b.select(first, g, b.fadd(b.fmul(m, μ), b.fmul(g, rest)))
    d = b.select(nesterov, b.fadd(g, b.fmul(m, μ)), m)
    return [Result(b.fsub(θ, b.fmul(d, γ))), Result(m)]


def rmsprop(
    b: Any, g: Any, before: Sequence[Any], of: Sequence[Any], flags: Sequence[Any], *, main: bool
) -> list[Result]:
    """Emit the equations of `rmsprop.py`; centered or with momentum if `main` is false."""
    α, rest, μ, ε, γ, *_ = of
    θ, v, m, momentum = before
    centered, moves, *_ = flags
    v = _average(b, v, b.fmul(g, g), α, rest)
    if main:
        d = b.fdiv(g, b.fadd(sqrt(b, v), ε))
        return [Result(b.fsub(θ, b.fmul(d, γ))), Result(v)]
    m = _average(b, m, g, α, rest)
    variance = b.fsub(v, b.fmul(m, m))
    variance = b.select(b.fcmp_ordered("<=", variance, _zero(v)), _zero(v), variance)
    d = b.fdiv(g, b.fadd(sqrt(b, b.select(centered, variance, v)), ε))
    d = b.select(moves, b.fadd(b.fmul(momentum, μ), d), d)
    return [Result(b.fsub(θ, b.fmul(d, γ))), Result(v), Result(m, centered), Result(d, moves)]


EQUATIONS: Mapping[str, Equations] = {"adam": adam, "sgd": sgd, "rmsprop": rmsprop}


def sqrt(builder: Any, x: Any) -> Any:
    """Emit the square root, correctly rounded."""
    number, width = (x.type.element, f"v{x.type.count}") if isinstance(x.type, ir.VectorType) else (x.type, "")
    name = f"llvm.sqrt.{width}{number.intrinsic_name}"
    return builder.call(cgutils.get_or_insert_function(builder.module, ir.FunctionType(x.type, [x.type]), name), [x])


def _average(b: Any, s: Any, x: Any, β: Any, rest: Any) -> Any:
    return b.fadd(b.fmul(s, β), b.fmul(x, rest))


def _zero(x: Any) -> Any:
    return ir.Constant(x.type, 0.0 if not isinstance(x.type, ir.VectorType) else None)
