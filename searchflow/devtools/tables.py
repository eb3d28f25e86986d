"""The tables in the documentation that `make docs` makes from the code, between two comments.

<!-- made:settings -->
...
<!-- made:end -->
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from searchflow.devtools import raw_tables, words
from searchflow.devtools.markdown import MarkdownPage, Piece
from searchflow.event_types import Field
from searchflow.settings import ROOT, Settings

END = "<!-- made:end -->"
_BEGIN = re.compile(r"^<!-- made:([\w-]+) -->$")
_VARIABLE = re.compile(r"\bSEARCHFLOW_[A-Z0-9_]*[A-Z0-9]\b")
READERS = ("config.yaml", "deploy/prefect.yaml", "searchflow/settings.py")
"""The files beside the settings that read our own variables."""
LAYERS = ("seeds", "staging", "intermediate", "marts", "activation", "ops")


def settings_table(root: Path) -> str:
    """Make the table of settings: one row for each."""
    rows = [(f"`{variable(name)}`", _default(name), _text(field)) for name, field in Settings.model_fields.items()]
    return _table(("Variable", "Default", "What it is"), rows)


def variable(name: str) -> str:
    """Return the environment variable of a field of `Settings`."""
    alias = Settings.model_fields[name].validation_alias
    return alias if isinstance(alias, str) else f"SEARCHFLOW_{name.upper()}"


def _text(field: Any) -> str:
    return str(field.description or "")


def _default(name: str) -> str:
    value = Settings.model_fields[name].default
    if value is None:
        return "unset"
    if isinstance(value, Path):
        return f"`{value.relative_to(ROOT)}` in the repository" if value.is_relative_to(ROOT) else f"`{value}`"
    return f"`{value:%Y-%m-%d}`" if isinstance(value, datetime) else f"`{value}`"


def event_types_table(root: Path) -> str:
    """Make the table of event types: one row for each field of each type."""
    rows = []
    for event_type in raw_tables.declared(root).values():
        for name, field in event_type.fields.items():
            inside = (
                f": {', '.join(f'`{inner}` {kind}' for inner, kind in field.fields.items())}" if field.fields else ""
            )
            rows.append((f"`{event_type.name}`", f"`{name}`", f"{field.type}{inside}", _rules(field)))
    return _table(("Event type", "Field", "Kind", "Rules"), rows)


def _rules(field: Field) -> str:
    said = ["required" if field.required else "optional"]
    said += [f"default `{field.default}`"] if field.default is not None else []
    said += [f"the `event_id` of a `{field.refers_to}`"] if field.refers_to else []
    said += ["of any earlier day"] if field.any_time else []
    return ", ".join([*said, *(["personal"] if field.personal else [])])


def models_table(root: Path) -> str:
    """Make the table of models: one row for each, with its name, how it is kept, and the first sentence of its file."""
    rows = []
    for layer in LAYERS:
        for path in sorted((root / "models" / layer).glob("*.*")):
            if path.suffix in (".sql", ".py") and not path.stem.startswith("_"):
                said, kind = _model(path)
                rows.append((f"[`{layer}.{path.stem}`](../../models/{layer}/{path.name})", kind, said))
    return _table(("Model", "Kept as", "What one row is"), rows)


def _model(path: Path) -> tuple[str, str]:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        said = ast.get_docstring(ast.parse(text)) or ""
        kind = re.search(r"kind=\"(\w+)\"|\bModelKindName\.(\w+)", text)
    else:
        comment = re.match(r"/\*(.*?)\*/", text, re.DOTALL)
        said = comment[1] if comment else ""
        kind = re.search(r"\bkind (\w+)", text)
    named = next((group for group in kind.groups() if group), "") if kind else ""
    return _first_sentence(said), named.lower().replace("_", " ")


def _first_sentence(text: str) -> str:
    return re.split(r"(?<=[\w)])\.(?=\s|$)", " ".join(text.split()))[0]


def deployments_table(root: Path) -> str:
    """Make the table of deployments: one row for each.

    It is made from `deploy/prefect.yaml`; a test checks that `flows/deployments.py` agrees with that file.
    """
    document = yaml.safe_load((root / "deploy" / "prefect.yaml").read_text(encoding="utf-8"))
    rows = []
    for entry in document["deployments"]:
        [schedule] = entry.get("schedules") or [{}]
        when = f"`{schedule['cron']}` UTC" if "cron" in schedule else _every(schedule.get("interval"))
        rows.append((f"`{entry['name']}`", f"`{entry['entrypoint']}`", when, entry["description"]))
    return _table(("Deployment", "Flow", "When", "Why so"), rows)


def _every(seconds: int | None) -> str:
    if seconds is None:
        return "on demand"
    return "every hour" if seconds == 3600 else f"every {seconds // 60} minutes"


def commands_list(root: Path) -> str:
    """Make one section for each command: what it does, its arguments and options, and an example."""
    import typer

    from searchflow.cli.app import app

    sections: list[str] = []
    for name, command in _leaves("searchflow", typer.main.get_command(app)):
        rows = [(_names(each), _parameter_text(each)) for each in command.params if each.name != "help"]
        parts = [f"## {name}", _plain(command.help), _table(("Argument or option", "What it does"), rows)]
        sections.append("\n\n".join([part for part in (*parts, _plain(command.epilog)) if part]))
    return "\n\n".join(sections)


def servers_table(root: Path) -> str:
    """Make the table of what each command does when servers are stopped: one row for each command.

    Raises:
        KeyError: a command is not declared in `searchflow/cli/needs.py`.
    """
    import typer

    from searchflow.cli.app import app
    from searchflow.cli.needs import NEEDS

    known = [name.removeprefix("searchflow ") for name, _ in _leaves("searchflow", typer.main.get_command(app))]
    missing = [name for name in known if name not in NEEDS]
    if missing:
        raise KeyError(f"searchflow/cli/needs.py does not say what {', '.join(missing)} needs")
    rows = [(f"`searchflow {name}`", said) for name, said in NEEDS.items()]
    return _table(("Command", "On a stopped home it"), rows)


def _leaves(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    for word, child in getattr(command, "commands", {}).items():
        yield from _leaves(f"{name} {word}", child)
    if not hasattr(command, "commands"):
        yield name, command


def _names(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{parameter.name.upper()}`"
    return ", ".join(f"`{name}`" for name in parameter.opts)


def _parameter_text(parameter: Any) -> str:
    return _plain(getattr(parameter, "help", None)).replace("[default:", "(default:").replace("]", ")")


def _plain(text: str | None) -> str:
    return " ".join((text or "").split())


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = [head, ["---"] * len(head), *([_escaped(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _escaped(cell: str) -> str:
    """Escape what would end a cell (a pipe) and, outside backticks, what would begin emphasis (a star) or a tag (<)."""
    parts = re.split(r"(`[^`]*`)", cell.replace("|", r"\|"))
    return "".join(part if part.startswith("`") else part.replace("*", r"\*").replace("<", "&lt;") for part in parts)


def words_table(root: Path) -> str:
    """Make the table of words that are not written: one row for each."""
    return _table(("Not", "But"), [(f"`{word}`", instead) for word, instead in words.INSTEAD.items()])


TABLES: dict[str, tuple[str, Callable[[Path], str]]] = {
    "settings": ("docs/reference/settings.md", settings_table),
    "event-types": ("docs/reference/event-types.md", event_types_table),
    "models": ("docs/reference/models.md", models_table),
    "deployments": ("docs/reference/prefect.md", deployments_table),
    "servers": ("docs/reference/commands.md", servers_table),
    "commands": ("docs/reference/commands.md", commands_list),
    "words": ("CONTRIBUTING.md", words_table),
}
"""The name of a table -> the page that holds it, and the function that makes it."""


def stale_tables(root: Path) -> Iterator[tuple[Path, Piece]]:
    """Yield tables that are missing, or that differ from what the code says now."""
    for name, (place, make) in TABLES.items():
        path = root / place
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        found = _find(lines, name)
        if found is None:
            yield path, Piece(1, f"the table `<!-- made:{name} -->` ... `{END}` is missing")
            continue
        begin, end = found
        expected = make(root).splitlines()
        if (different := _difference(_trimmed(lines[begin + 1 : end]), expected)) is not None:
            said = expected[different] if different < len(expected) else "nothing more"
            yield path, Piece(begin + 2 + different, f"the code says otherwise: {said[:120]} (run `make docs`)")


def write_tables(root: Path) -> list[Path]:
    """Write every table again. Return the pages that changed."""
    changed = []
    for name, (place, make) in TABLES.items():
        path = root / place
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        lines = before.splitlines()
        if (found := _find(lines, name)) is not None:
            begin, end = found
            text = "\n".join([*lines[: begin + 1], "", make(root), "", *lines[end:]]) + "\n"
            if text != before:
                path.write_text(text, encoding="utf-8")
                changed.append(path)
    return changed


def _find(lines: list[str], name: str) -> tuple[int, int] | None:
    for number, line in enumerate(lines):
        if (begun := _BEGIN.match(line)) and begun[1] == name and END in lines[number:]:
            return number, lines.index(END, number)
    return None


def _trimmed(lines: list[str]) -> list[str]:
    return lines[1:-1] if len(lines) > 1 and not lines[0] and not lines[-1] else lines


def _difference(written: list[str], expected: list[str]) -> int | None:
    for number in range(max(len(written), len(expected))):
        if written[number : number + 1] != expected[number : number + 1]:
            return number
    return None


def unknown_variables(page: MarkdownPage, root: Path) -> Iterator[Piece]:
    """Yield variables `SEARCHFLOW_...` that nothing reads."""
    known = {variable(name) for name in Settings.model_fields}
    for place in READERS:
        if (root / place).exists():
            known |= set(_VARIABLE.findall((root / place).read_text(encoding="utf-8")))
    for number, line in enumerate(page.lines, 1):
        for name in _VARIABLE.findall(line):
            if name not in known:
                yield Piece(number, f"nothing reads the variable {name}")
