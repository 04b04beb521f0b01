"""Fields of bytes that are written when somebody reads them: many are saved, and few are read."""

from collections.abc import Callable


class Lazy:
    """A field of bytes that may be given as a function: it writes them each time that they are read."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: object, owner: type) -> bytes:
        if instance is None:
            raise AttributeError(self._name)  # so a dataclass sees no default
        given: bytes | Callable[[], bytes] = instance.__dict__[self._name]
        return given() if callable(given) else given

    def __set__(self, instance: object, given: bytes | Callable[[], bytes]) -> None:
        instance.__dict__[self._name] = given
