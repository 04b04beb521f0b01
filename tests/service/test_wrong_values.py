"""The words for a refused value: they name the way out, and never show what may be a secret."""

from typing import Annotated, Any

import pytest
from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from app.wrong_values import need, sentence


def refuse(_: str) -> str:
    raise ValueError("must be a key")


def error_of(kind: Any, value: object) -> Any:
    with pytest.raises(ValidationError) as raised:
        TypeAdapter(kind).validate_python(value)
    return raised.value.errors()[0]


def test_a_number_stands_without_quotes_and_a_text_with_them() -> None:
    assert sentence(error_of(Annotated[int, Field(ge=1)], "-1")) == "must be 1 or more, not -1"
    assert sentence(error_of(int, "a\nb")) == r"must be a whole number, not 'a\nb'"
    assert len(sentence(error_of(int, "x" * 5000))) < 120


@pytest.mark.parametrize("kind", [Annotated[str, AfterValidator(refuse)], Annotated[str, Field(pattern="^x$")]])
def test_a_value_that_may_be_a_secret_is_never_shown(kind: Any) -> None:
    assert "secret" not in sentence(error_of(kind, "secret"))


def test_a_validators_own_words_stand_alone() -> None:
    assert sentence(error_of(Annotated[str, AfterValidator(refuse)], "secret")) == "must be a key"


def test_a_description_stands_for_a_pattern() -> None:
    error = error_of(Annotated[str, Field(pattern="^x$")], "y")
    assert need(error, "The `x` of the answer.") == "must be the `x` of the answer"


def test_an_error_without_words_of_its_own_has_pydantics() -> None:
    assert sentence(error_of(list, "y")) == "Input should be a valid list"
