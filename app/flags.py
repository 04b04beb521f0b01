"""The flags of `optim serve`: one for each setting, with its words.

The settings take as long to import as all else that `optim --help` does, so `cli` imports this module when it needs it.
"""

import inspect
import os
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from pydantic import FilePath, ValidationError
from pydantic.fields import FieldInfo

from app import wrong_values
from app.settings import Settings


def serve_command(words: str | None) -> Any:
    """Return the command `serve`, for a program that shows these words as its help."""
    alone = typer.Typer(rich_markup_mode=None, add_completion=False)
    _serve.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_option(name, field))
            for name, field in Settings.model_fields.items()
        ]
    )
    alone.command(help=words)(_serve)
    return typer.main.get_command(alone)


def _serve(**flags: Any) -> None:
    from app.serve import serve  # noqa: PLC0415 - takes longer than `--help`

    given = {name: value for name, value in flags.items() if value is not None}
    settings = settings_of(**given)
    for name, value in given.items():
        os.environ[f"OPTIM_{name.upper()}"] = str(value)
    serve(settings)


def settings_of(**given: Any) -> Settings:
    """Return the settings, those not given from the environment. A wrong one is refused in one line, by its name."""
    try:
        return Settings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        hint = f"{_flag(name)} or OPTIM_{name.upper()}"
        raise typer.BadParameter(wrong_values.sentence(first), param_hint=hint) from None


def _option(name: str, field: FieldInfo) -> Any:
    """Return the flag of a setting. Its value is a string, checked by `Settings` like the environment's."""
    if field.annotation is bool:
        return Annotated[bool | None, typer.Option(_flag(name), help=field.description)]
    default = "" if field.default_factory or field.default is None else f"  [default: {field.default}]"
    option = typer.Option(_flag(name), metavar=_metavar(field.annotation), help=f"{field.description}{default}")
    return Annotated[str | None, option]


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _metavar(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return "|".join(get_args(annotation))
    return {int: "N", float: "N", int | None: "N", FilePath | None: "FILE"}.get(annotation, "TEXT")
