"""The command `searchflow explain`: the chain from what destinations hold of a user back to the raw events."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text
from rich.tree import Tree

from searchflow.cli.output import Json, console, print_json, safe
from searchflow.cli.support import settings_of_command, with_servers

if TYPE_CHECKING:
    from activations.explanation import Story
    from activations.explanation.syncs import Part

app = typer.Typer(help="Explain what destinations hold, back to the raw events.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Explain what destinations hold, back to the raw events."""


@app.command(epilog="Example: `searchflow explain user u00000042 --sessions 1`")
def user(
    user_id: Annotated[str, typer.Argument(help="The user, as the events name them.")],
    sessions: Annotated[int, typer.Option(min=0, help="The number of newest sessions to show, with their events.")] = 3,
    personal: Annotated[
        bool, typer.Option("--personal", help="Show name, address and what was searched; the audit log notes it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show what each destination holds of a user, the rule that put it there, the gate that it passed, and the events that
    it comes from. Exit status 1 when nothing is known of the user."""
    settings = with_servers(settings_of_command())
    from activations.explanation import explain

    story = explain(settings, user_id, sessions=sessions, personal=personal)
    if as_json:
        print_json(story.as_dict())
    else:
        console.print(_tree(story))


def _tree(story: Story) -> Tree:
    totals = f"{story.totals['sessions']:,} sessions, {story.totals['events']:,} events that name them"
    tree = Tree(Text.assemble(("user ", "bold"), safe(story.user_id), (f"  {totals}", "dim")))
    for each in story.syncs:
        _add_sync(tree, each)
    if story.segment is not None:
        branch = tree.add(_line("marts.mart_user_segments", story.segment, leave=("user_id",)))
        for step in story.segment_rules:
            mark = ("✓ ", "green") if step.holds else ("✗ ", "dim")
            branch.add(Text.assemble(mark, (step.rule, "bold" if step.holds else ""), ": ", safe(step.why)))
    if story.user is not None:
        tree.add(_line("marts.dim_users", story.user, leave=("user_id",)))
    branch = tree.add(Text.assemble(("sessions", "bold"), (f"  the newest {len(story.sessions)}", "dim")))
    for session in story.sessions:
        _add_session(branch, session)
    return tree


def _add_sync(tree: Tree, part: Part) -> None:
    branch = tree.add(Text.assemble((part.sync, "bold cyan"), "  ", (part.destination, "dim")))
    if part.holds is None:
        branch.add(Text("the destination cannot be read now", style="yellow"))
    elif not part.holds:
        branch.add(Text("the destination holds nothing of them", style="dim"))
    for row in part.holds or ():
        branch.add(_line("holds", row, leave=("user_id",)))
    for row in part.sent[-3:]:
        branch.add(_line("sent", row))
    why = branch.add(Text("why", style="bold"))
    for said in part.why:
        why.add(safe(said))
    model = branch.add(Text.assemble((part.model, "bold"), (f"  {len(part.model_rows)} row(s)", "dim")))
    for row in part.model_rows:
        model.add(_line("", row, leave=("user_id",)))
    _add_gate(branch, part)


def _add_gate(branch: Tree, part: Part) -> None:
    by_outcome: dict[str, list[str]] = {}
    for verdict in part.gate:
        by_outcome.setdefault(verdict["outcome"], []).append(verdict["suite"])
    checked = max((verdict["checked_at"] for verdict in part.gate if verdict["checked_at"]), default=None)
    gate = branch.add(
        Text.assemble(("gate", "bold"), (f"  last checked {checked:%Y-%m-%d %H:%M}" if checked else "", "dim"))
    )
    for outcome, suites in by_outcome.items():
        style = {"pass": "green", "warn": "yellow"}.get(outcome, "red")
        gate.add(Text.assemble((outcome, style), ": ", ", ".join(suites)))


def _add_session(branch: Tree, session: dict[str, Any]) -> None:
    shown = ("platform", "country", "channel", "searches", "clicks", "conversions")
    line = Text.assemble(f"{session['session_start']:%Y-%m-%d %H:%M:%S}  ", safe(session["session_key"]), "  ")
    node = branch.add(line + _pairs((name, session[name]) for name in shown))
    below: dict[str, Tree] = {}
    for event in session["events"]:
        place = below.get(event["follows"] or "", node)
        about = {name: event[name] for name in ("query", "value") if event[name] is not None}
        text = Text.assemble(
            f"{event['event_ts']:%H:%M:%S} ", (event["event_type"], "bold"), " ", safe(event["event_id"])
        )
        below[event["event_id"]] = place.add(text + Text("  ") + _pairs(about.items()))


def _line(title: str, row: dict[str, Any], leave: tuple[str, ...] = ()) -> Text:
    pairs = _pairs((name, value) for name, value in row.items() if name not in leave and value is not None)
    return Text.assemble((title, "bold"), "  ") + pairs if title else pairs


def _pairs(pairs: Iterable[tuple[str, Any]]) -> Text:
    return Text("  ").join(Text.assemble((f"{name}=", "dim"), safe(value)) for name, value in pairs)
