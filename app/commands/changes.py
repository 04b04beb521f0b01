"""The command `set`: the changes that a person types, and the settings before and after them."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.commands.options import AsJson, SessionId, Url, client, given_twice, pairs, session_of
from app.commands.output import echo_json, plain, shown

if TYPE_CHECKING:
    from optim_client import SessionInfo

LABELS = "labels"
HINT = "NAME=VALUE"


def change(
    session_id: SessionId,
    changes: Annotated[list[str], typer.Argument(metavar=HINT, help="Settings, such as lr=0.0005 clip.global_norm=1.")],
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Change settings from the next step on.

    A value is JSON, or else a text: betas=[0.9,0.95], clip=null, labels.run=mnist-3. null puts a default back, and
    takes a label away. A dot leads into a setting: schedule.total_steps=20000.
    """
    wanted = changes_of(changes)
    with client(url) as service:
        before = session_of(service, session_id).info
        try:
            after = service.sessions.update(before.id, **wanted).info
        except TypeError as error:  # of a name that the client refuses
            raise typer.BadParameter(str(error), param_hint=HINT) from None
    changed = differences(before, after)
    if as_json:
        echo_json({"id": after.id, "step": after.step, "changed": changed})
        return
    width = max(map(len, changed), default=0)
    for name, (old, new) in changed.items():
        typer.echo(f"{plain(name):{width}}  {plain(shown(old))} → {plain(shown(new))}")
    if not changed:
        typer.echo("nothing changed: the settings were so before")


def changes_of(texts: list[str]) -> dict[str, Any]:
    """Return the changes as `update` takes them. Raises `BadParameter`."""
    changes: dict[str, Any] = {}
    for name, value in pairs(texts, "lr=0.0005", HINT):
        first, *below = name.split(".", 1 if name.startswith(f"{LABELS}.") else -1)
        place, key = changes, first
        for part in below:
            place, key = place.setdefault(key, {}), part
            if not isinstance(place, dict):
                break
        if not isinstance(place, dict) or key in place:
            raise given_twice(name, HINT)
        place[key] = _label(value) if first == LABELS and below else _value(value)
    return changes


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _label(text: str) -> Any:
    """Return a label's value, which is text whatever it looks like; but null takes the label away."""
    return None if text == "null" else text


def differences(before: "SessionInfo", after: "SessionInfo") -> dict[str, tuple[Any, Any]]:
    """Return the settings that differ, with their values before and after; `None` for one that is not there."""
    old, new = dict(_settings(before)), dict(_settings(after))
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    return {name: (old.get(name), new.get(name)) for name in names}


def _settings(info: "SessionInfo") -> Iterator[tuple[str, Any]]:
    """Yield each setting by its name, as `changes_of` reads it."""
    from optim_client.settings import FIELDS

    document = asdict(info)
    yield from info.hyperparameters.items()
    for name in sorted(FIELDS & document.keys()):
        if isinstance(document[name], Mapping):
            yield from ((f"{name}.{key}", value) for key, value in document[name].items())
        else:
            yield name, document[name]
