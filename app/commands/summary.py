"""The command `show`: a session for people, in sections."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from app.commands.options import AsJson, SessionId, Url, client, session_of
from app.commands.output import NONE, Column, ago, echo_json, echo_table, instant, number, plain, shown, styled

if TYPE_CHECKING:
    from optim_client import HistoryRow, SessionInfo

MOST_TENSORS = 20
GROUPS = (Column("#", right=True), Column("match", flexible=True), Column("settings", flexible=True))
TENSORS = (
    Column("name", flexible=True),
    Column("shape", right=True),
    Column("dtype"),
    Column("rule"),
    Column("group", right=True),
    Column("steps", right=True),
)


def show(session_id: SessionId, url: Url = None, as_json: AsJson = False) -> None:
    """Show a session: its state, settings, groups and tensors."""
    with client(url) as service:
        session = session_of(service, session_id)
        rows = [] if as_json else session.history(last=1)
    info = session.info
    if as_json:
        echo_json(asdict(info))
        return
    typer.echo(f"{styled(info.id, bold=True)}  {info.optimizer}")
    _echo_facts(_state(info, rows[-1] if rows else None))
    _echo_title("Settings")
    _echo_facts(_settings(info))
    if info.groups:
        _echo_title("Groups")
        echo_table(GROUPS, [_group(at, group) for at, group in enumerate(info.groups)])
    if info.tensors:
        _echo_title(f"Tensors ({len(info.tensors):,})")
        _echo_tensors(info)
    if info.warnings:
        _echo_title("Warnings")
        for warning in info.warnings:
            typer.echo(plain(warning))


def _echo_title(title: str) -> None:
    typer.echo(f"\n{styled(title, bold=True)}")


def _echo_facts(facts: Iterable[tuple[str, str]]) -> None:
    found = list(facts)
    width = max(len(name) for name, _ in found)
    for name, value in found:
        typer.echo(f"  {name:{width}}  {plain(value)}")


def _state(info: "SessionInfo", row: "HistoryRow | None") -> Iterator[tuple[str, str]]:
    counts = {"skipped": info.skipped_steps, "undone": info.rewinds}
    said = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
    yield "step", f"{info.step:,}" + (f" ({said})" if said else "")
    if row is not None:
        yield "loss", number(row.loss)
        yield "lr", number(row.lr)
        yield "grad norm", number(row.grad_norm)
    yield "updated", f"{instant(info.updated_at)}, {ago(info.updated_at)}"
    yield "created", instant(info.created_at)
    yield "expires", instant(info.expires_at) if info.expires_at else "never"
    yield "labels", " ".join(f"{name}={value}" for name, value in info.labels.items()) or NONE
    yield "digest", info.digest


def _settings(info: "SessionInfo") -> Iterator[tuple[str, str]]:
    for name, value in info.hyperparameters.items():
        yield name, shown(value)
    for name in ("schedule", "clip", "average", "workers"):
        members: Mapping[str, Any] | None = getattr(info, name)
        yield name, _members(members) if members else NONE
    yield "on_non_finite", info.on_non_finite
    yield "on_other_params", info.on_other_params
    yield "hold_params", shown(info.hold_params)
    yield "wire_dtype", shown(info.wire_dtype)
    yield "undo", f"{info.undo} steps"


def _group(at: int, group: Mapping[str, Any]) -> tuple[str, ...]:
    others = {name: value for name, value in group.items() if name != "match"}
    return str(at), " ".join(group["match"]), _members(others)


def _members(value: Mapping[str, Any]) -> str:
    """Return an object's members in words. Those of a schedule begin with its kind."""
    return ", ".join(
        shown(member) if name in ("kind", "mode") else f"{name} {shown(member)}" for name, member in value.items()
    )


def _echo_tensors(info: "SessionInfo") -> None:
    shown = list(info.tensors.items())[:MOST_TENSORS]
    rows = []
    for name, tensor in shown:
        shape = "×".join(map(str, tensor.shape)) or "scalar"
        group = NONE if tensor.group is None else str(tensor.group)
        rows.append((name, shape, tensor.dtype, tensor.optimizer, group, f"{tensor.step:,}"))
    echo_table(TENSORS, rows)
    if len(info.tensors) > MOST_TENSORS:
        typer.echo(f"… and {len(info.tensors) - MOST_TENSORS:,} more, which --json has")
