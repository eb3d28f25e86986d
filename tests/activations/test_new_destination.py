"""The destination that the guide builds keeps the contract: its code is taken from the page and run."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import activations.destinations
from activations.testing import Trial, checks
from searchflow.settings import ROOT
from tests.activations.scene import CRM, Scene, crm_row

pytestmark = pytest.mark.integration

PAGE = (ROOT / "docs" / "guides" / "new-destination.md").read_text()
SYNC = """\
name: shop_users
description: For a test.
model: activation.act_crm_user_segments
key: user_id
mode: mirror
fields:
  - {{name: user_id, type: text}}
  - {{name: segment, type: text}}
destination: {{type: sqlite_table, path: "{path}", table: users}}
gate: [marts.mart_user_segments]
limits: {{removed_share: 1}}
"""


def block(name: str) -> str:
    [code] = re.findall(rf"```python {name}\n(.*?)```", PAGE, re.DOTALL)
    return str(code)


@pytest.fixture
def trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Trial]]:
    """The guide's module among the destinations, and its trial."""
    (tmp_path / "sqlite_table.py").write_text(block("module"))
    monkeypatch.setattr(
        activations.destinations, "__path__", [*activations.destinations.__path__, str(tmp_path)], raising=True
    )
    names: dict[str, Any] = {}
    exec(compile(block("trial"), "new-destination.md", "exec"), names)
    yield names["SqliteTrial"]
    import sys

    sys.modules.pop("activations.destinations.sqlite_table", None)


def test_it_keeps_every_promise_and_a_sync_runs_with_it(scene: Scene, trial: type[Trial], tmp_path: Path) -> None:
    promises = checks(trial)
    assert len(promises) >= 9
    for check in promises:
        with trial(scene.settings) as tried:
            check(tried)
    path = tmp_path / "shop.db"
    (tmp_path / "shop_users.yaml").write_text(SYNC.format(path=path))
    scene.model(CRM, [crm_row("u1"), crm_row("u2")])
    assert scene.run("shop_users", folder=tmp_path).added == 2
    scene.model(CRM, [crm_row("u1", "at_risk")])
    result = scene.run("shop_users", folder=tmp_path)
    assert (result.changed, result.removed) == (1, 1)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT user_id, segment FROM users").fetchall() == [("u1", "at_risk")]
    assert scene.reconcile("shop_users", folder=tmp_path).drifted == 0
