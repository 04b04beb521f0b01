"""The command `optim serve`: its help. tests/test_serve.py has its start."""

from tests.command import Optim


def test_the_help_of_serve_begins_with_its_words(optim: Optim) -> None:
    status, words, _ = optim("serve", "--help")
    assert status == 0
    assert words.startswith("Usage: optim serve [OPTIONS]\n\n  Run the service.\n\n  Every flag is also")
