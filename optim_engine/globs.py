"""Glob patterns, as `fnmatch.fnmatchcase` reads them, matched all at once against many names.

A pattern is a row of tokens: a character, `?`, a set such as `[a-z]`; a `*` before a token lets any text stand there.
All that may have been matched so far is one whole number, a bit for each token of each pattern, and the next character
moves all of its bits at once: nothing is tried twice, so no pattern takes longer than its length and the name's. What
follows such a number by which character is remembered while the names of one call are matched, because names resemble
each other.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

DIGIT_BITS = 30
"""What Python takes of a whole number in one step."""
MOVE_DIGITS = 400
"""What it takes to move a short one, in steps."""
MOST_REMEMBERED = 16_000_000
"""Steps whose results are remembered at a time: about 64 MB."""

Kind: TypeAlias = tuple[str | None, tuple[bool, ...]]
"""Characters that no pattern tells apart: one that stands in a pattern, if it is that, and which sets have it."""


class TooMuchWork(Exception):
    """These patterns and names take more steps than they may."""


@dataclass(frozen=True, slots=True)
class CharacterSet:
    """The characters of a pair of brackets: one of these, or any but these."""

    ranges: tuple[tuple[str, str], ...]
    negated: bool

    def __contains__(self, character: str) -> bool:
        return any(low <= character <= high for low, high in self.ranges) != self.negated


ANY = CharacterSet((), negated=True)
"""The token `?`."""


class Globs:
    """Patterns, numbered as they are given."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._characters: defaultdict[str, list[int]] = defaultdict(list)
        """By character, the bits that it may set."""
        self._sets: defaultdict[CharacterSet, list[int]] = defaultdict(list)
        """By set, those that each of its characters may set."""
        self._ends: dict[int, int] = {}
        """By the bit of a whole match, the pattern's number."""
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
        """By name, the patterns that match it (bit i stands for pattern i), and how many steps that took.

        Raises `TooMuchWork`.
        """
        walk = _Walk(self, most_work)
        try:
            return {name: walk.matched(name) for name in names}, walk.work
        finally:
            walk.forget()

    def kind_of(self, character: str) -> Kind:
        """The kind of a character."""
        alone = character if character in self._characters else None
        return alone, tuple([character in characters for characters in self._sets])

    @property
    def kind_work(self) -> int:
        """Steps that `kind_of` takes."""
        return MOVE_DIGITS // 4 + 50 * len(self._sets)

    def setting(self, kind: Kind) -> int:
        """The bits that characters of the kind may set."""
        alone, inside = kind
        bits = [*self._characters[alone]] if alone is not None else []
        for places, is_in in zip(self._sets.values(), inside, strict=True):
            bits += places if is_in else ()
        return self._anyway | self._number(bits)

    def setting_work(self, kind: Kind) -> int:
        """Steps that `setting` takes."""
        alone, inside = kind
        bits = sum(len(places) for places, is_in in zip(self._sets.values(), inside, strict=True) if is_in)
        return MOVE_DIGITS + self._size // DIGIT_BITS + 25 * (bits + len(self._characters.get(alone or "", ())))

    def numbers_of(self, ends: int) -> int:
        """The patterns whose whole matches these are."""
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
    """The tokens of a pattern; `None` is a `*`."""
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
    """Read the text between brackets. A hyphen that has a character on both sides makes a range of them."""
    negated = text.startswith("!")
    text = text[negated:]
    ranges, i = list[tuple[str, str]](), 0
    while i < len(text):
        last = i + 2 if text[i + 1 : i + 2] == "-" and i + 2 < len(text) else i
        ranges.append((text[i], text[last]))
        i = last + 1
    return CharacterSet(tuple(ranges), negated)


class _Walk:
    """One call's way through the names, and what is remembered of it."""

    def __init__(self, globs: Globs, most_work: float) -> None:
        self._globs = globs
        self._most_work = most_work
        self.work = 0
        self._remembered = 0
        self._kinds: dict[Kind, tuple[str, int]] = {}
        """By kind of character, the first one that was met, and the bits that it may set."""
        self._states: dict[int, _State] = {}

    def matched(self, name: str) -> int:
        if self._remembered > MOST_REMEMBERED:
            self.forget()
        state = self._state(self._globs.begin)
        for character in name:
            state = state[character]
        if state.matched is None:
            state.matched = self._globs.numbers_of(state.bits & self._globs.end)
        return state.matched

    def forget(self) -> None:
        """Let go of what is remembered: states know each other, and would else wait for the garbage collection."""
        for state in self._states.values():
            state.clear()
        self._states.clear()
        self._kinds.clear()
        self._remembered = 0

    def after(self, state: "_State", character: str) -> "_State":
        """Return the state that follows by that character."""
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
    """A state of the match: what may have been matched so far and, by the next character, what follows."""

    __slots__ = ("_walk", "bits", "matched")

    def __init__(self, walk: _Walk, bits: int) -> None:
        self._walk = walk
        self.bits = bits
        self.matched: int | None = None

    def __missing__(self, character: str) -> "_State":
        state = self[character] = self._walk.after(self, character)
        return state
