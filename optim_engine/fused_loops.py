"""The inner loops of the fused kernel as LLVM instructions on vectors of sixteen elements, for processors of any
width, in an order that no compiler changes.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from optim_engine.fused_rules import EQUATIONS, gradient

WIDTH = 16
LANES = 512
"""The lanes of squares, as in `sums.py`."""
LINE = 64
"""Bytes of a cache line."""
LINES = 4
"""Lines of each vector that are computed before any is stored past the cache: a load waits for a recent store whose
address agrees with its own in the last bits, and one wait for four lines costs nothing."""
WATCHED = 2
"""Lines of each vector that are computed before any is stored where the change is watched."""
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
def update(typing: Any, rule: Any, mode: Any, of: Any, start: Any, end: Any, zero: Any) -> Any:
    """Apply a rule to the elements from `start` to `end`, and square them. Return the element where it stopped.

    `of` has the old and the new vectors, the lanes of squares and those in float64, the coefficients and the flags.
    The squares of the element `zero` go to the first lane. The modes differ in the squares.
    - `rows`: they are stored one after the other.
    - `tiles`: they are added to the lanes that are there, the rule's vectors in lines past the cache if a flag says
      so. The elements must fill whole lines, four of each vector at a time. In float32 it stops before a lane of the
      change reaches the bound, which is the last coefficient.
    - `exact`: they are added too, and those of the change also to the lanes in float64.

    The flags: the results go past the cache, the gradient is used as it is (no clipping, no L2), L2 decays, the rule's
    main loop, and the rule's own.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, _, packed, first, last, zero = arguments
        olds, news, squares, exact, *tuples = cgutils.unpack_tuple(builder, packed)
        places, numbers, flags = (cgutils.unpack_tuple(builder, some) for some in (squares, *tuples))

        def data(arrays: Any, kind: Any) -> list[Any]:
            made = context.make_array(kind.dtype)
            return [made(context, builder, array).data for array in cgutils.unpack_tuple(builder, arrays)]

        vectors = _Vectors(data(olds, of[0]), data(news, of[1]), places, exact)
        numbers = [_rounded(builder, number, places[0].type.pointee) for number in numbers]
        stop = cgutils.alloca_once_value(builder, last), cgutils.alloca_once_value(builder, cgutils.false_bit)
        loop = _Loop(builder, rule.literal_value, mode.literal_value, vectors, numbers, flags, zero, *stop)
        loop.update(first, last)
        return builder.load(loop.reached)

    return types.intp(rule, mode, of, types.intp, types.intp, types.intp), generate


def _rounded(builder: Any, number: Any, kind: Any) -> Any:
    """Return the float64 number in the type of the elements: rounded once, to nearest even."""
    return number if number.type == kind else builder.fptrunc(number, kind)


def _both(builder: Any, flag: Any) -> Iterator[bool]:
    """Yield True and then False: instructions emitted meanwhile run only if the flag has that value."""
    with builder.if_else(flag) as (then, otherwise):
        with then:
            yield True
        with otherwise:
            yield False


class _Vectors(NamedTuple):
    """The vectors of a loop: the gradient and the old values, the new values, and the lanes of squares."""

    sources: Sequence[Any]
    targets: Sequence[Any]
    places: Sequence[Any]
    exact: Any


@dataclass(frozen=True)
class _Loop:
    """A loop over vectors in memory."""

    builder: Any
    rule: str
    mode: str
    vectors: _Vectors
    numbers: Sequence[Any]
    flags: Sequence[Any]
    zero: Any
    reached: Any
    """A variable for the element where it stopped."""
    stopped: Any
    """A variable that says whether it stopped early."""

    @property
    def number(self) -> Any:
        return self.vectors.sources[0].type.pointee

    def update(self, first: Any, last: Any) -> None:
        """Emit a loop for each case of the flags: over several lines at a time, if they go past the cache, over
        vectors, and over the elements that fill no vector."""
        builder, (past, bare, _, main, *_) = self.builder, self.flags
        tiles, line = self.mode == "tiles", LINE // _bytes(self.number)
        whole = self.whole(first, last, WIDTH)
        for is_main in _both(builder, main):
            for is_bare in _both(builder, bare) if is_main and self.mode != "exact" else [False]:
                rule = {"main": is_main, "bare": is_bare}
                if tiles:
                    beyond = builder.select(past, last, first)
                    self.emit(LINES * line, first, beyond, past=True, **rule)
                    self.emit(WATCHED * line, beyond, last, **rule)
                else:
                    self.emit(WIDTH, first, whole, **rule)
            if not tiles:
                self.emit(1, whole, last, main=is_main, bare=False)

    def whole(self, first: Any, last: Any, width: int) -> Any:
        """Return the end of the elements from `first` on that fill whole vectors of that width."""
        rest = self.builder.and_(self.builder.sub(last, first), first.type(width - 1))
        return self.builder.sub(last, rest)

    def emit(self, width: int, first: Any, last: Any, *, main: bool, bare: bool, past: bool = False) -> None:
        """Emit a loop over the elements from `first` to `last`, `width` at a time; within it, one over each row of
        lanes, so that one index serves all vectors."""
        builder, count = self.builder, first.type
        of = [_spread(builder, number, width) for number in self.numbers]
        emit = partial(self.row, width, of, main=main, bare=bare, past=past)
        if self.mode == "rows":
            emit(first, last, self.zero)
            return
        with builder.if_then(builder.icmp_signed("<", first, last)):
            row = builder.lshr(builder.sub(first, self.zero), count(9))
            beyond = builder.add(builder.lshr(builder.sub(builder.sub(last, self.zero), count(1)), count(9)), count(1))
            with cgutils.for_range(builder, builder.sub(beyond, row)) as rows:
                zero = builder.add(self.zero, builder.shl(builder.add(row, rows.index), count(9)))
                end = builder.add(zero, count(LANES))
                start = builder.select(builder.icmp_signed("<", zero, first), first, zero)
                emit(start, builder.select(builder.icmp_signed("<", last, end), last, end), zero)
                with builder.if_then(builder.load(self.stopped), likely=False):
                    rows.do_break()

    def row(
        self, width: int, of: Sequence[Any], first: Any, last: Any, zero: Any, *, main: bool, bare: bool, past: bool
    ) -> None:
        """Emit a loop over elements whose squares go to lanes side by side, from the element `zero` on."""
        builder, vectors, size = self.builder, self.vectors, first.type(width)
        places = [builder.gep(place, [builder.neg(zero)]) for place in vectors.places]
        with cgutils.for_range(builder, builder.sdiv(builder.sub(last, first), size)) as loop:
            i = builder.add(first, builder.mul(loop.index, size))
            g, *before = [_load(builder, source, i, width) for source in vectors.sources]
            seen = g if bare else gradient(builder, g, before[0], of[:3], self.flags[2])
            results = EQUATIONS[self.rule](builder, seen, before, of[3:], self.flags[4:], main=main)
            θ = results[0].value
            change = builder.fsub(θ, before[0])
            squares = [builder.fmul(value, value) for value in (g, change, θ)]
            if self.mode != "rows":
                lanes = [_load(builder, place, i, width) for place in places]
                squares = [builder.fadd(lane, square) for lane, square in zip(lanes, squares, strict=True)]
            if self.mode == "tiles" and not past and _bytes(self.number) == 4:
                self.watch(squares[1], i, loop.do_break)
            if self.mode == "exact" and _bytes(self.number) == 4:
                self.add_exactly(change, i, zero, width)
            for square, place in zip(squares, places, strict=True):
                _store(builder, square, place, i)
            for result, target in zip(results, vectors.targets, strict=False):
                with nullcontext() if result.kept is None else builder.if_then(result.kept):
                    _store(builder, result.value, target, i, past)

    def add_exactly(self, change: Any, i: Any, zero: Any, width: int) -> None:
        """Emit the addition of the change's squares in float64, in which they are exact."""
        builder = self.builder
        place = builder.gep(self.vectors.exact, [builder.neg(zero)])
        wide = builder.fpext(change, _vector(ir.DoubleType(), width))
        total = builder.fadd(_load(builder, place, i, width), builder.fmul(wide, wide))
        _store(builder, total, place, i)

    def watch(self, change: Any, i: Any, stop: Callable[[], None]) -> None:
        """Emit a stop before anything of these elements is stored, if a lane of the change is at the bound or NaN. The
        bits of sums of squares, as whole numbers, are in the order of the sums, and NaN is the largest."""
        builder, width, mask = self.builder, change.type.count, ir.IntType(WIDTH)
        bits = builder.bitcast(change, ir.VectorType(INT, width))
        parts = [
            builder.shuffle_vector(bits, bits, ir.Constant(ir.VectorType(INT, WIDTH), [*range(at, at + WIDTH)]))
            for at in range(0, width, WIDTH)
        ]
        most = reduce(lambda a, b: builder.select(builder.icmp_unsigned(">", a, b), a, b), parts)
        bound = builder.bitcast(_spread(builder, self.numbers[-1], WIDTH), most.type)
        large = builder.icmp_unsigned(">=", most, bound)
        with builder.if_then(builder.icmp_unsigned("!=", builder.bitcast(large, mask), mask(0)), likely=False):
            builder.store(i, self.reached)
            builder.store(cgutils.true_bit, self.stopped)
            stop()


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
