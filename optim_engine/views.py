"""The arrays that a step answers by name: views of the vectors that it filled."""

from collections.abc import ItemsView, Iterator, Mapping, Sequence, ValuesView
from functools import cached_property
from typing import TypeAlias

from optim_engine.arrays import Array
from optim_engine.rule import Shape

Place: TypeAlias = tuple[int, slice, Shape]
"""The index of a tensor's vector, its elements there, and its shape."""


class Places(dict[str, Place]):
    """The places of a step's tensors. A plan has one such object, so a weak table may keep what follows from it."""

    __slots__ = ("__weakref__",)
    __hash__ = object.__hash__  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return self is other


class Views(Mapping[str, Array]):
    """A mapping of names to parts of vectors. All views are made at the first look at one: a thousand take longer
    than the step of their elements, and the next step does not need them."""

    def __init__(self, places: Places, vectors: Sequence[Array]) -> None:
        self.places = places
        self.vectors = vectors

    @cached_property
    def _views(self) -> dict[str, Array]:
        vectors = self.vectors
        return {
            name: vectors[i][part] if len(shape) == 1 else vectors[i][part].reshape(shape)
            for name, (i, part, shape) in self.places.items()
        }

    def __getitem__(self, name: str) -> Array:
        return self._views[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)

    def __contains__(self, name: object) -> bool:
        return name in self.places

    def items(self) -> ItemsView[str, Array]:
        return self._views.items()

    def values(self) -> ValuesView[Array]:
        return self._views.values()

    def __repr__(self) -> str:
        return repr(self._views)
