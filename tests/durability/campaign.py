"""What takes too long for `make test`: `make durability`, some twenty minutes."""

from tests.durability.kills import save_many_pieces_through_kills, train_through_kills
from tests.durability.processes import ServerProcess


def test_training_goes_on_through_a_kill_at_every_step(server: ServerProcess) -> None:
    train_through_kills(server, steps=200, kills=200)


def test_a_state_of_96_megabytes_is_saved_wholly_or_not_at_all(server: ServerProcess) -> None:
    save_many_pieces_through_kills(server, rows=20_000, kills=40)
