"""Glob patterns, as in `fnmatch.fnmatchcase`, matched all at once against many names.

A pattern is a sequence of tokens: a character, `?`, or a set such as `[a-z]`; a `*` before a token allows any text
there. The matcher is a bit-parallel automaton: one integer has a bit for each token of each pattern that may have been
matched so far, and each character of a name shifts all bits at once. It never backtracks, so the time for a pattern is
bounded by its length times the name's. The automaton's transitions are cached during a call, because names resemble
each other.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

DIGIT_BITS = 30
"""The bits of an integer that Python processes in one step."""
MOVE_DIGITS = 400
"""The steps that a transition takes for a short integer."""
MOST_REMEMBERED = 16_000_000
"""The most steps whose results are cached at a time, about 64 MB."""

Kind: TypeAlias = tuple[str | None, tuple[bool, ...]]
"""A class of characters that no pattern distinguishes: the character itself if a pattern has it, and for each set
whether it contains the character."""


class TooMuchWork(Exception):
    """An error: these patterns and names take more steps than allowed."""


@dataclass(frozen=True, slots=True)
class CharacterSet:
    """The characters of a pair of brackets: one of these, or if negated, any other."""

    ranges: tuple[tuple[str, str], ...]
    negated: bool

    def __contains__(self, character: str) -> bool:
        return any(low <= character <= high for low, high in self.ranges) != self.negated


ANY = CharacterSet((), negated=True)
"""The token `?`."""


def literal(name: str) -> str:
    """Return the pattern that matches that name alone."""
    return "".join(f"[{character}]" if character in "*?[" else character for character in name)


class Globs:
    """A matcher for several patterns, which are numbered in the given order."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._characters: defaultdict[str, list[int]] = defaultdict(list)
        """The bits that each character may set."""
        self._sets: defaultdict[CharacterSet, list[int]] = defaultdict(list)
        """The bits that the characters of each set may set."""
        self._ends: dict[int, int] = {}
        """The number of each pattern, by the bit of a complete match."""
        begin, free, anyway, bit = list[int](), list[int](), list[int](), 0
        for i, pattern in enumerate(patterns):
            begin.append(bit)
            for token in _tokens(pattern):
                if token is None:
                    free.append(bit)
                    continue
                bit += 1
                if token is ANY:
                    anyway.append(bit)
                elif isinstance(token, str):
                    self._characters[token].append(bit)
                else:
                    self._sets[token].append(bit)
            self._ends[bit] = i
            bit += 1
        self._size = bit
        self.begin, self.free, self.end = (self._number(bits) for bits in (begin, free, self._ends))
        self._anyway = self._number(anyway)
        """The bits that every character may set."""

    def match(self, names: Iterable[str], most_work: float = math.inf) -> tuple[dict[str, int], int]:
        """Return the patterns that match each name, as bits (bit i is pattern i), and the number of steps taken.

        Raises `TooMuchWork` beyond `most_work` steps.
        """
        walk = _Walk(self, most_work)
        try:
            return {name: walk.matched(name) for name in names}, walk.work
        finally:
            walk.forget()

    def kind_of(self, character: str) -> Kind:
        """Return the kind of a character."""
        alone = character if character in self._characters else None
        return alone, tuple([character in characters for characters in self._sets])

    @property
    def kind_work(self) -> int:
        """Return the number of steps that `kind_of` takes."""
        return MOVE_DIGITS // 4 + 50 * len(self._sets)

    def setting(self, kind: Kind) -> int:
        """Return the bits that characters of the kind may set."""
        alone, inside = kind
        bits = [*self._characters[alone]] if alone is not None else []
        for places, is_in in zip(self._sets.values(), inside, strict=True):
            bits += places if is_in else ()
        return self._anyway | self._number(bits)

    def setting_work(self, kind: Kind) -> int:
        """Return the number of steps that `setting` takes."""
        alone, inside = kind
        bits = sum(len(places) for places, is_in in zip(self._sets.values(), inside, strict=True) if is_in)
        return MOVE_DIGITS + self._size // DIGIT_BITS + 25 * (bits + len(self._characters.get(alone or "", ())))

    def numbers_of(self, ends: int) -> int:
        """Return the patterns, as bits, whose complete matches these are."""
        matched = 0
        while ends:
            last = ends.bit_length() - 1
            matched |= 1 << self._ends[last]
            ends ^= 1 << last
        return matched

    def _number(self, bits: Iterable[int]) -> int:
        data = bytearray(self._size // 8 + 1)
        for bit in bits:
            data[bit >> 3] |= 1 << (bit & 7)
        return int.from_bytes(data, "little")


def _tokens(pattern: str) -> Iterator[str | CharacterSet | None]:
    """Yield the tokens of a pattern; `None` is a `*`."""
    i = 0
    while i < len(pattern):
        character, end = pattern[i], pattern.find("]", i + 2 + (pattern[i + 1 : i + 2] == "!"))
        if character == "[" and end >= 0:
            yield _character_set(pattern[i + 1 : end])
            i = end
        else:
            yield {"*": None, "?": ANY}.get(character, character)
        i += 1


def _character_set(text: str) -> CharacterSet:
    """Return the set for the text between brackets. A hyphen between two characters makes a range."""
    negated = text.startswith("!")
    text = text[negated:]
    ranges, i = list[tuple[str, str]](), 0
    while i < len(text):
        last = i + 2 if text[i + 1 : i + 2] == "-" and i + 2 < len(text) else i
        ranges.append((text[i], text[last]))
        i = last + 1
    return CharacterSet(tuple(ranges), negated)


class _Walk:
    """The automaton of one call of `match`, with its cached transitions."""

    def __init__(self, globs: Globs, most_work: float) -> None:
        self._globs = globs
        self._most_work = most_work
        self.work = 0
        self._remembered = 0
        self._kinds: dict[Kind, tuple[str, int]] = {}
        """For each kind, the first character seen of it, and the bits that it may set."""
        self._states: dict[int, _State] = {}

    def matched(self, name: str) -> int:
        """Return the patterns that match the name, as bits."""
        if self._remembered > MOST_REMEMBERED:
            self.forget()
        state = self._state(self._globs.begin)
        for character in name:
            state = state[character]
        if state.matched is None:
            state.matched = self._globs.numbers_of(state.bits & self._globs.end)
        return state.matched

    def forget(self) -> None:
        """Drop the cache. States refer to each other, and would otherwise stay until the next garbage collection."""
        for state in self._states.values():
            state.clear()
        self._states.clear()
        self._kinds.clear()
        self._remembered = 0

    def after(self, state: "_State", character: str) -> "_State":
        """Return the state that the character leads to."""
        kind = self._globs.kind_of(character)
        self._count(self._globs.kind_work)
        if kind not in self._kinds:
            self._kinds[kind] = character, self._globs.setting(kind)
            self._count(self._globs.setting_work(kind))
        alike, setting = self._kinds[kind]
        if alike != character:
            return state[alike]
        self._count(MOVE_DIGITS + state.bits.bit_length() // DIGIT_BITS)
        return self._state((state.bits << 1) & setting | state.bits & self._globs.free)

    def _state(self, bits: int) -> "_State":
        state = self._states.get(bits)
        if state is None:
            state = self._states[bits] = _State(self, bits)
        return state

    def _count(self, work: int) -> None:
        self.work += work
        self._remembered += work
        if self.work > self._most_work:
            raise TooMuchWork


class _State(dict[str, "_State"]):
    """A state of the automaton: the bits matched so far, and the next state for each character seen after it."""

    __slots__ = ("_walk", "bits", "matched")

    def __init__(self, walk: _Walk, bits: int) -> None:
        self._walk = walk
        self.bits = bits
        self.matched: int | None = None

    def __missing__(self, character: str) -> "_State":
        state = self[character] = self._walk.after(self, character)
        return state
