"""The engine's errors: a refusal names the tensor, what was expected and what came."""

from optim_engine import InvalidConfig
from tests.engine.test_checks import A, refused


def test_a_refusal_says_apart_what_was_expected_and_what_came() -> None:
    refusal = refused({"a": A}, {"a": A.T})
    assert (refusal.tensor, refusal.expected, refusal.got) == ("a", "float32 [2, 3]", "float32 [3, 2]")


def test_the_path_of_a_setting_grows_outwards() -> None:
    error = InvalidConfig("lr", "must be a number").within("hyperparameters")
    assert (str(error), error.where) == ("hyperparameters.lr: must be a number", "hyperparameters.lr")
