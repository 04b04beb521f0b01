"""The errors of the engine. Each message shows the value and the way out, never an array."""


class EngineError(ValueError):
    """The base class of all errors that the engine raises."""


class InvalidConfig(EngineError):
    """A setting that is unknown, of the wrong type, or out of range.

    `where` is its path, such as `hyperparameters.lr`; `message` is the text without the path.
    """

    def __init__(self, where: str, message: str) -> None:
        super().__init__(f"{where}: {message}" if where else message)
        self.where = where
        self.message = message

    def within(self, outer: str) -> "InvalidConfig":
        """Return the same error with a longer path: `lr` within `hyperparameters` is `hyperparameters.lr`."""
        return InvalidConfig(f"{outer}.{self.where}" if self.where else outer, self.message)


class TensorMismatch(EngineError):
    """A tensor that is missing, that the rule cannot update, or that differs from what the state has.

    `tensor` is its name; `expected` and `got` describe both sides where the two can be compared. The message follows
    the name: it begins with a verb or a colon.
    """

    def __init__(self, tensor: str, message: str, *, expected: str | None = None, got: str | None = None) -> None:
        space = "" if message.startswith(":") else " "
        super().__init__(f"tensor {tensor!r}{space}{message}" if tensor else message)
        self.tensor = tensor
        self.expected = expected
        self.got = got


class NonFinite(EngineError):
    """A gradient with a NaN or an infinity. `index` is the place of the first one, one number for each dimension."""

    def __init__(self, tensor: str, index: tuple[int, ...], value: float) -> None:
        super().__init__(
            f"gradient of tensor {tensor!r} is {value} at {list(index)}; nothing was changed: lower the learning rate, "
            "clip, or create the session with on_non_finite 'skip'"
        )
        self.tensor = tensor
        self.index = index
