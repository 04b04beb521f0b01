"""The inner loops of the fused kernel as LLVM instructions on vectors of sixteen elements, for processors of any
width, in an order that no compiler changes. Imported by `fused.py` alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

WIDTH = 16
LINE = 64
"""Bytes of a cache line."""
LINES = 4
"""Lines of each vector that are computed before any is stored past the cache: a load waits for a recent store whose
address agrees with its own in the last bits, and one wait for four lines costs nothing."""
INT = ir.IntType(32)


@intrinsic(prefer_literal=True)
def stack(typing: Any, like: Any, size: Any) -> Any:
    """Return a pointer to `size` elements of the array's dtype on the stack."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        element = context.get_value_type(like.dtype)
        room = cgutils.alloca_once(builder, ir.ArrayType(element, size.literal_value))
        room.align = LINE
        return builder.bitcast(room, element.as_pointer())

    return types.CPointer(like.dtype)(like, size), generate


@intrinsic
def address(typing: Any, pointer: Any) -> Any:
    """Return the pointer's address."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ptrtoint(arguments[0], context.get_value_type(types.intp))

    return types.intp(pointer), generate


@intrinsic
def moved(typing: Any, pointer: Any, count: Any) -> Any:
    """Return the pointer moved by `count` elements."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.gep(arguments[0], [arguments[1]])

    return pointer(pointer, types.intp), generate


@intrinsic
def fence(typing: Any) -> Any:
    """Make stores past the cache visible to other threads."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def row_sums(typing: Any, squares: Any, start: Any, size: Any) -> Any:
    """Return the sum of one row of squares for each vector, in the order of `sums.py`: the first element, then the
    others in eight lanes. The vectors are summed side by side, so that no sum waits for another."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vectors, start, size = arguments
        sources = cgutils.unpack_tuple(builder, vectors)
        number, count = sources[0].type.pointee, start.type
        first, end = builder.add(start, count(1)), builder.add(start, size)
        rest = builder.add(first, builder.and_(builder.sub(size, count(1)), count(-8)))
        totals = [cgutils.alloca_once_value(builder, ir.Constant(number, 0)) for _ in sources]
        with builder.if_then(builder.icmp_signed("<", first, rest)):
            lanes = [cgutils.alloca_once_value(builder, _load(builder, source, first, 8)) for source in sources]
            with cgutils.for_range_slice(builder, builder.add(first, count(8)), rest, count(8)) as (i, _):
                for lane, source in zip(lanes, sources, strict=True):
                    builder.store(builder.fadd(builder.load(lane), _load(builder, source, i, 8)), lane)
            for lane, total in zip(lanes, totals, strict=True):
                builder.store(_across(builder, builder.load(lane)), total)
        with cgutils.for_range_slice(builder, rest, end, count(1)) as (i, _):
            for source, total in zip(sources, totals, strict=True):
                builder.store(builder.fadd(builder.load(total), _load(builder, source, i)), total)
        pairs = zip(sources, totals, strict=True)
        sums = [builder.fadd(_load(builder, source, start), builder.load(total)) for source, total in pairs]
        return context.make_tuple(builder, signature.return_type, sums)

    return types.UniTuple(squares.dtype.dtype, len(squares))(squares, types.intp, types.intp), generate


def _across(builder: Any, lanes: Any) -> Any:
    """Return the sum of eight lanes: neighbours first, then pairs, then halves."""
    parts = [builder.extract_element(lanes, INT(lane)) for lane in range(8)]
    while len(parts) > 1:
        parts = [builder.fadd(*pair) for pair in zip(parts[::2], parts[1::2], strict=True)]
    return parts[0]


@intrinsic(prefer_literal=True)
def adam(
    typing: Any,
    adds: Any,
    old: Any,
    new: Any,
    squares: Any,
    numbers: Any,
    flags: Any,
    start: Any,
    end: Any,
    lane: Any,
) -> Any:
    """Apply the equations of `adam.py` to the elements from `start` to `end`. Their squares are stored in `squares`
    from that lane on, or added to what is there. The flags: the gradient is used as it is (no clipping, no L2), L2
    decays, AMSGrad, and, where squares are added, the results go past the cache."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, olds, news, *tuples, first, last, lane = arguments
        sums, coefficients, flags = (cgutils.unpack_tuple(builder, packed) for packed in tuples)

        def data(arrays: Any, kind: Any) -> list[Any]:
            made = context.make_array(kind.dtype)
            return [made(context, builder, array).data for array in cgutils.unpack_tuple(builder, arrays)]

        loop = _Loop(builder, data(olds, old), data(news, new), sums, coefficients, adds.literal_value)
        loop.update(flags, first, last, lane)
        return context.get_dummy_value()

    given = adds, old, new, squares, numbers, flags, types.intp, types.intp, types.intp
    return types.void(*given), generate


def _both(builder: Any, flag: Any) -> Iterator[bool]:
    """Yield True and then False: instructions emitted meanwhile run only if the flag has that value."""
    with builder.if_else(flag) as (then, otherwise):
        with then:
            yield True
        with otherwise:
            yield False


@dataclass(frozen=True)
class _Loop:
    """A loop over vectors in memory: `sources` are the gradient and the old values, `targets` the new values, and
    `places` the lanes of squares."""

    builder: Any
    sources: Sequence[Any]
    targets: Sequence[Any]
    places: Sequence[Any]
    numbers: Sequence[Any]
    adds: bool

    def update(self, flags: Sequence[Any], first: Any, last: Any, lane: Any) -> None:
        """Emit loops for each case of the flags: over several lines at a time, if they go past the cache, over vectors,
        and over the elements that fill no vector."""
        builder, (bare, decays, amsgrad, past) = self.builder, flags
        lines = LINES * LINE // _bytes(self.sources[0].type.pointee)
        wide = builder.select(past, self.whole(first, last, lines), first) if self.adds else first
        whole = self.whole(wide, last, WIDTH)
        for is_amsgrad in _both(builder, amsgrad):
            for is_bare in [False] if is_amsgrad else _both(builder, bare):
                rule = {"decays": decays, "bare": is_bare, "amsgrad": is_amsgrad}
                self.emit(lines, first, wide, lane, past=True, **rule)
                self.emit(WIDTH, wide, whole, builder.add(lane, builder.sub(wide, first)), past=False, **rule)
            rest = builder.add(lane, builder.sub(whole, first))
            self.emit(1, whole, last, rest, past=False, decays=decays, bare=False, amsgrad=is_amsgrad)

    def whole(self, first: Any, last: Any, width: int) -> Any:
        """Return the end of the elements from `first` on that fill whole vectors of that width."""
        rest = self.builder.and_(self.builder.sub(last, first), first.type(width - 1))
        return self.builder.sub(last, rest)

    def emit(self, width: int, first: Any, last: Any, lane: Any, *, past: bool, **rule: Any) -> None:
        """Emit a loop over the elements from `first` to `last`, `width` at a time."""
        builder, step = self.builder, first.type(width)
        of = [_spread(builder, number, width) for number in self.numbers]
        with cgutils.for_range_slice(builder, first, last, step) as (i, count):
            g, *before = [_load(builder, source, i, width) for source in self.sources]
            *after, change = _adam(builder, g, before, of, **rule)
            at = builder.add(lane, builder.mul(count, step))
            for value, place in zip((g, change, after[0]), self.places, strict=True):
                square = builder.fmul(value, value)
                if self.adds:
                    square = builder.fadd(_load(builder, place, at, width), square)
                _store(builder, square, place, at)
            for value, target in zip(after, self.targets, strict=False):
                _store(builder, value, target, i, past)


def _adam(
    b: Any, g: Any, before: Sequence[Any], of: Sequence[Any], decays: Any, *, bare: bool, amsgrad: bool
) -> list[Any]:
    """Emit Adam's equations. Return the new parameter, the new moments and the parameter's change."""
    c, bound, λ, β1, rest1, β2, rest2, ε, γ, decay = of
    θ, m, v, v_max = before
    if not bare:
        g = b.fmul(g, c)
        least = b.fneg(bound)
        g = b.select(b.fcmp_ordered("<", g, least), least, g)
        g = b.select(b.fcmp_ordered(">", g, bound), bound, g)
        g = b.select(decays, b.fadd(g, b.fmul(θ, λ)), g)
    m = b.fadd(b.fmul(m, β1), b.fmul(g, rest1))
    v = b.fadd(b.fmul(v, β2), b.fmul(b.fmul(g, g), rest2))
    if amsgrad:
        kept = b.or_(b.fcmp_ordered(">=", v_max, v), b.fcmp_unordered("uno", v_max, v_max))
        v_max = b.fadd(b.select(kept, v_max, v), ir.Constant(v.type, None))
    under = b.fadd(_sqrt(b, v_max if amsgrad else v), ε)
    result = b.fsub(b.fmul(θ, decay), b.fmul(b.fdiv(m, under), γ))
    return [result, m, v, *([v_max] if amsgrad else []), b.fsub(result, θ)]


def _sqrt(builder: Any, x: Any) -> Any:
    number, width = (x.type.element, f"v{x.type.count}") if isinstance(x.type, ir.VectorType) else (x.type, "")
    name = f"llvm.sqrt.{width}{number.intrinsic_name}"
    return builder.call(cgutils.get_or_insert_function(builder.module, ir.FunctionType(x.type, [x.type]), name), [x])


def _load(builder: Any, source: Any, at: Any, width: int = 1) -> Any:
    number = source.type.pointee
    place = builder.bitcast(builder.gep(source, [at]), _vector(number, width).as_pointer())
    return builder.load(place, align=_bytes(number))


def _store(builder: Any, value: Any, target: Any, at: Any, past: bool = False) -> None:
    place = builder.bitcast(builder.gep(target, [at]), value.type.as_pointer())
    stored = builder.store(value, place, align=LINE if past else _bytes(target.type.pointee))
    if past:
        stored.set_metadata("nontemporal", builder.module.add_metadata([INT(1)]))


def _spread(builder: Any, number: Any, width: int) -> Any:
    """Return a vector with the number in every element."""
    if width == 1:
        return number
    vector = ir.VectorType(number.type, width)
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), number, INT(0))
    return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), ir.Constant(ir.VectorType(INT, width), None))


def _vector(number: Any, width: int) -> Any:
    return number if width == 1 else ir.VectorType(number, width)


def _bytes(number: Any) -> int:
    return 8 if isinstance(number, ir.DoubleType) else 4
