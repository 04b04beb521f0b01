"""`kill -9` of the server at any moment of a run: training goes on as if nothing had happened."""

from tests.durability.kills import save_many_pieces_through_kills, train_through_kills
from tests.durability.processes import ServerProcess
from tests.durability.shutdown import stop_and_start_in_the_middle_of_a_step


def test_training_goes_on_through_kills_to_the_bit(server: ServerProcess) -> None:
    train_through_kills(server, steps=200, kills=8)


def test_a_state_of_many_pieces_is_saved_wholly_or_not_at_all(server: ServerProcess) -> None:
    save_many_pieces_through_kills(server, rows=2_000, kills=4)


def test_a_stop_lets_the_step_in_flight_finish(server: ServerProcess) -> None:
    stop_and_start_in_the_middle_of_a_step(server)
