"""The source that the guide builds is a source: its code is taken from the page and run."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from searchflow import warehouse
from searchflow.ingestion import worker
from searchflow.ingestion.accounting import accounting
from searchflow.ingestion.commit import Counts
from searchflow.settings import ROOT, Settings
from tests import foreign

pytestmark = pytest.mark.integration


def test_the_guides_outbox_is_read_once(fresh_platform: Settings, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "guides" / "new-source.md").read_text()
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile("from __future__ import annotations\n" + block, "new-source.md", "exec"), names)
    moment = worker.utc_now().isoformat()
    path = tmp_path / "shop.db"
    with sqlite3.connect(path) as outbox:
        outbox.execute("CREATE TABLE outbox (id INTEGER PRIMARY KEY, body TEXT)")
        bodies = [foreign.line(**foreign.search(number, timestamp=moment)).decode() for number in (1, 2)]
        outbox.executemany(
            "INSERT INTO outbox (body) VALUES (?)", [(body,) for body in [*bodies, bodies[0], "rubbish"]]
        )
    ingest = names["ingest_outbox"]
    assert ingest(fresh_platform, path).counts == Counts(received=4, stored=2, duplicates=1, dead_letters=1)
    assert ingest(fresh_platform, path).counts == Counts()
    with sqlite3.connect(path) as outbox:
        outbox.execute(
            "INSERT INTO outbox (body) VALUES (?)", [foreign.line(**foreign.search(3, timestamp=moment)).decode()]
        )
    assert ingest(fresh_platform, path).counts == Counts(received=1, stored=1)
    with warehouse.connect(fresh_platform, read_only=True) as connection:
        assert accounting(connection).holds
        found = connection.execute("SELECT DISTINCT source FROM raw.search_events").fetchall()
    assert found == [("outbox:shop",)]
