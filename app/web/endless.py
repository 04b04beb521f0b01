"""Answers without an end, such as streams of events: how much of one was written, for the deadline of its reader."""

ENDLESS = "optim.endless"
"""The key in a request's ASGI scope of its `Endless`, while the answer goes on."""


class Endless:
    """The bytes of one endless answer that were given to its connection. The server compares what the client takes."""

    __slots__ = ("written",)

    def __init__(self) -> None:
        self.written = 0
