"""What the engine refuses, and why. Each message holds the value and the way out, never an array."""


class EngineError(ValueError):
    """The root of what the engine raises."""


class InvalidConfig(EngineError):
    """A setting is unknown, of the wrong type, or out of range. `where` is its place, such as `hyperparameters.lr`."""

    def __init__(self, where: str, message: str) -> None:
        super().__init__(f"{where}: {message}" if where else message)
        self.where = where
        self.message = message

    def within(self, outer: str) -> "InvalidConfig":
        """The same, seen from outside: `lr` within `hyperparameters` is `hyperparameters.lr`."""
        return InvalidConfig(f"{outer}.{self.where}" if self.where else outer, self.message)


class TensorMismatch(EngineError):
    """A tensor is missing, or differs from what the state knows. `expected` and `got` say how, where that is known."""

    def __init__(self, tensor: str, message: str, *, expected: str | None = None, got: str | None = None) -> None:
        super().__init__(f"tensor {tensor!r}: {message}" if tensor else message)
        self.tensor = tensor
        self.expected = expected
        self.got = got


class NonFinite(EngineError):
    """A gradient holds NaN or an infinity. `index` is the place of the first one, one number a dimension."""

    def __init__(self, tensor: str, index: tuple[int, ...], value: float) -> None:
        super().__init__(
            f"gradient of tensor {tensor!r} is {value} at {list(index)}; nothing was changed: lower the learning rate, "
            "clip, or create the session with on_non_finite 'skip'"
        )
        self.tensor = tensor
        self.index = index
