"""The errors that the client itself finds: a session's step is not the one that a call needs."""

from typing import Self

from optim_client.errors import OptimError


class StepMismatch(OptimError):
    """The session is at another step than was asked for."""

    def __init__(self, session_id: str, wanted: int, current_step: int) -> None:
        super().__init__(
            f"session {session_id} is at step {current_step}, not at step {wanted}: parameters of step {wanted} do not "
            f"belong to its moments. Go on from the parameters of step {current_step}, or get the session without a "
            f"step and load_state() the state that was saved at step {wanted}"
        )
        self.session_id = session_id
        self.wanted = wanted
        self.current_step = current_step

    def __reduce__(self) -> tuple[type[Self], tuple[str, int, int]]:
        return type(self), (self.session_id, self.wanted, self.current_step)


class StateLost(OptimError):
    """The session is behind the step that this client was answered, and nobody has rewound it: its store lost steps.

    That comes of a failover to a replica that was behind, or of an older backup. The state of `current_step` is whole;
    the steps after it, up to `known_step`, are gone. Each call that needs them raises this, until `session.get()` has
    accepted the session as it is, or `session.load_state()` has put a state back.
    """

    def __init__(self, session_id: str, known_step: int, current_step: int) -> None:
        super().__init__(
            f"session {session_id} went back: this client was answered step {known_step}, the session is at step "
            f"{current_step}, and nobody has undone a step or loaded a state since. Its store lost the steps in "
            f"between, in a failover to a replica that was behind, or by an older backup; the state of step "
            f"{current_step} is whole. To go on: session.get() (a worker: join()) and steps {current_step + 1} to "
            f"{known_step} again, from the parameters of step {current_step}; or session.load_state() of a saved state"
        )
        self.session_id = session_id
        self.known_step = known_step
        self.current_step = current_step

    def __reduce__(self) -> tuple[type[Self], tuple[str, int, int]]:
        return type(self), (self.session_id, self.known_step, self.current_step)


class StepUnderWay(OptimError):
    """Another thread or task is stepping the session, which holds no parameters. Nothing was sent."""

    def __init__(self, session_id: str, number: int) -> None:
        super().__init__(
            f"step {number} of session {session_id} is under way in another thread or task, and a second one needs the "
            "parameters that it will answer: wait for it. To step from several threads, create the session with "
            "hold_params=True (then one step waits for another), or give each thread a session.fork() of its own"
        )
        self.session_id = session_id
        self.number = number

    def __reduce__(self) -> tuple[type[Self], tuple[str, int]]:
        return type(self), (self.session_id, self.number)
