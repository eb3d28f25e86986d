"""What insert, update and null policies promise, against a real PostgreSQL; and that digests agree with the ledger."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from activations.base import ABSENT
from activations.run import open_destination
from activations.sync_files import load_sync
from tests.activations.scene import CRM, Scene, crm_row

pytestmark = pytest.mark.integration

FILE = """\
name: contacts
description: For a test.
model: activation.act_crm_user_segments
key: user_id
mode: {mode}
fields:
  - {{name: user_id, type: text}}
  - {{name: segment, type: text}}
  - {{name: lifetime_revenue, type: "decimal(18,2)"}}
  - {{name: last_seen_at, type: timestamp}}
  - {{name: country, type: text, nulls: {nulls}}}
destination: {{type: postgres_table, table: crm.contacts}}
gate: [marts.mart_user_segments]
limits: {{changed_share: 1}}
"""


def declared(folder: Path, mode: str, nulls: str = "send") -> Path:
    (folder / "contacts.yaml").write_text(FILE.format(mode=mode, nulls=nulls))
    return folder


def contacts(scene: Scene) -> list[tuple[Any, ...]]:
    return scene.sql("crm", "SELECT user_id, segment, country FROM crm.contacts ORDER BY 1")


def in_table(scene: Scene, *users: str) -> None:
    scene.sql("crm", "CREATE SCHEMA crm")
    scene.sql(
        "crm",
        "CREATE TABLE crm.contacts (user_id text PRIMARY KEY, segment text, lifetime_revenue numeric(18,2), "
        "last_seen_at timestamptz, country text)",
    )
    for user in users:
        scene.sql("crm", "INSERT INTO crm.contacts VALUES (%s, 'theirs', 1, now(), 'FR')", user)


def test_insert_adds_who_is_not_there_and_touches_no_other(scene: Scene, tmp_path: Path) -> None:
    folder = declared(tmp_path, "insert")
    in_table(scene, "u1")
    scene.model(CRM, [crm_row("u1"), crm_row("u2")])
    result = scene.run("contacts", folder=folder)
    assert (result.added, result.repeated) == (2, 1)
    scene.model(CRM, [crm_row("u1", "at_risk"), crm_row("u2", "at_risk")])
    assert scene.run("contacts", folder=folder).status == "unchanged"
    assert contacts(scene) == [("u1", "theirs", "FR"), ("u2", "regular", "CA")]


def test_update_changes_who_is_there_and_rejects_the_others_until_they_are(scene: Scene, tmp_path: Path) -> None:
    folder = declared(tmp_path, "update")
    in_table(scene, "u1")
    scene.model(CRM, [crm_row("u1"), crm_row("u2")])
    result = scene.run("contacts", folder=folder)
    assert (result.added, result.rejected, result.status) == (1, 1, "partial")
    assert contacts(scene) == [("u1", "regular", "CA")]
    assert scene.lake("SELECT key, reason FROM ops.sync_rejections") == [("u2", ABSENT)]
    scene.sql("crm", "INSERT INTO crm.contacts (user_id) VALUES ('u2')")
    assert scene.run("contacts", folder=folder).held == 1
    assert scene.run("contacts", folder=folder, retry_rejected=True).added == 1
    assert contacts(scene)[1] == ("u2", "regular", "CA")


@pytest.mark.parametrize(("nulls", "left"), [("send", None), ("keep", "CA")])
def test_a_null_empties_the_field_or_leaves_it_as_the_sync_says(
    scene: Scene, tmp_path: Path, nulls: str, left: str | None
) -> None:
    folder = declared(tmp_path, "upsert", nulls)
    scene.model(CRM, [crm_row("u1")])
    scene.run("contacts", folder=folder)
    scene.model(CRM, [(*crm_row("u1", "at_risk")[:5], None)])
    assert scene.run("contacts", folder=folder).changed == 1
    assert contacts(scene) == [("u1", "at_risk", left)]


def test_a_row_whose_null_is_refused_is_rejected(scene: Scene, tmp_path: Path) -> None:
    folder = declared(tmp_path, "upsert", "reject")
    scene.model(CRM, [crm_row("u1"), (*crm_row("u2")[:5], None)])
    result = scene.run("contacts", folder=folder)
    assert (result.added, result.rejected) == (1, 1)


def test_the_tables_digests_are_those_of_what_was_sent(scene: Scene, tmp_path: Path) -> None:
    folder = declared(tmp_path, "upsert")
    odd = ["u1", 'u"2', "u\\3", "ü4", "u\t5"]
    scene.model(CRM, [crm_row(user, "at_risk", "0.10") for user in odd] + [(*crm_row("u6")[:4], None, None)])
    scene.run("contacts", folder=folder)
    ours = scene.sql(
        "ledger",
        "SELECT ('x' || left(md5(key), 8))::bit(32)::bit(10)::int::text, count(*)::text, "
        "sum(('x' || left(replace(hash::text, '-', ''), 16))::bit(64)::bigint)::text FROM activation.sent GROUP BY 1",
    )
    with closing(open_destination(load_sync("contacts", folder), scene.settings)) as destination:
        theirs = destination.digests()
        assert theirs is not None
        assert sorted(tuple(row.values()) for row in theirs.to_pylist()) == sorted(ours)
        bucket = int(ours[0][0])
        found = destination.read([bucket])
        assert found is not None
        assert found.num_rows == int(ours[0][1])
