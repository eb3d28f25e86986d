"""Drift: how the working tree differs from production, found without disturbing production.

The files are compared by names, sizes and times; only when one of those has changed is the project loaded, in a process
of its own: a file that is broken, or that runs something, never meets the process that makes production. The answer is
kept in `<home>/run/drift.json`.
"""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

from searchflow.errors import SearchFlowError
from searchflow.settings import ROOT, Settings
from searchflow.transformation import promotions
from searchflow.transformation.files import signature_of

PATIENCE = 120.0
"""Seconds to wait for a comparison. Loading takes some five, and a minute on a machine that does much else."""
NAMED = 3


@dataclass(frozen=True)
class Drift:
    """What differs between the files and production. It is empty when production is what the files say."""

    models: list[str] = field(default_factory=list)
    """Models whose own definition differs, that are new, or gone; not those that are only made from them."""
    files: list[str] = field(default_factory=list)
    """The configuration and materializations that differ."""
    problem: str = ""
    """Why the files could not be compared: one of them does not load."""

    @property
    def sentence(self) -> str:
        """Return the drift as a sentence for people, empty when nothing differs."""
        if self.problem:
            return f"The model files do not load, production goes on as it was promoted: {self.problem}"
        if not self.models and not self.files:
            return ""
        count = len(self.models)
        models = f"{count} model{'' if count == 1 else 's'} ({_named(self.models)})" if count else ""
        differ = "differs" if count + len(self.files) == 1 else "differ"
        what = " and ".join(part for part in (models, ", ".join(self.files)) if part)
        return f"{what} {differ} from production: `searchflow deploy --plan` shows how, `searchflow deploy` promotes."


def look(settings: Settings, *, root: Path = ROOT, patience: float = PATIENCE) -> Drift | None:
    """Return how the files in `root` differ from production, or None before the first promotion.

    This takes milliseconds, unless a file or production has changed since the last look.
    """
    plan = promotions.deployed_plan(settings)
    if plan is None:
        return None
    signature = signature_of(root)
    known = _remembered(settings, root, plan, signature)
    if known is not None:
        return known
    found = _compared(settings, root, patience)
    if found is None:
        return Drift(problem="they were not compared in time; `searchflow deploy --plan` compares them.")
    remember(settings, root, plan, signature, found)
    return found


def remember(settings: Settings, root: Path, plan: str, signature: str, found: Drift) -> None:
    """Remember an answer for these files and this plan."""
    path = _path(settings)
    partial = path.with_name(f"{path.name}.{signature[:8]}")
    partial.write_text(json.dumps({"root": str(root), "plan": plan, "signature": signature, "drift": asdict(found)}))
    partial.replace(path)


def _remembered(settings: Settings, root: Path, plan: str, signature: str) -> Drift | None:
    try:
        known = json.loads(_path(settings).read_text())
        if (known["root"], known["plan"], known["signature"]) == (str(root), plan, signature):
            return Drift(**known["drift"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return None


def _path(settings: Settings) -> Path:
    return settings.run_dir / "drift.json"


def _compared(settings: Settings, root: Path, patience: float) -> Drift | None:
    try:
        answer = subprocess.run(
            [sys.executable, "-m", __name__],
            input=pickle.dumps((settings, root)),  # not in arguments or the environment: it may hold a password
            capture_output=True,
            timeout=patience,
            cwd=ROOT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None
    lines = answer.stdout.decode(errors="replace").strip().splitlines()
    if answer.returncode or not lines:
        errors = answer.stderr.decode(errors="replace").strip().splitlines()
        return Drift(problem=errors[-1][:300] if errors else f"the comparison ended with status {answer.returncode}.")
    return Drift(**json.loads(lines[-1]))


def compare(settings: Settings, root: Path) -> Drift:
    """Load the files in `root` and compare them. Call this in a process of its own."""
    from searchflow.transformation import project as projects

    try:
        with projects.project(settings, root=root) as opened:
            deployed = opened.context.state_reader.get_environment("prod")
            before = {each.name: _own(each) for each in deployed.snapshots} if deployed else {}
            after = {each.name: _own(each) for each in opened.snapshots()}
    except SearchFlowError as error:
        return Drift(problem=str(error))
    differing = sorted(
        promotions.shown(name) for name in before.keys() | after.keys() if before.get(name) != after.get(name)
    )
    newest = promotions.newest(settings)
    old = newest.files if newest else promotions.files_of(root)
    new = promotions.files_of(root)
    return Drift(differing, sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name)))


def _own(snapshot: object) -> tuple[str, str]:
    """Return the part of a model's version that comes from its own definition, without the models that it is made from."""
    print_ = snapshot.fingerprint  # type: ignore[attr-defined]
    return print_.data_hash, print_.metadata_hash


def _named(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (" …" if len(names) > NAMED else "")


if __name__ == "__main__":
    given, folder = pickle.loads(sys.stdin.buffer.read())  # noqa: S301  (from the process that started this one)
    print(json.dumps(asdict(compare(given, folder))))  # noqa: T201
