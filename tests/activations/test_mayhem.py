"""Eighteen random kills over all destinations, an API in bad moods between them: the end equals the model."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from activations.sync_files import SYNCS_DIR
from searchflow.settings import ROOT
from tests.activations.api import running_api
from tests.activations.scene import CRM, EMAILS, RECO, Scene

pytestmark = pytest.mark.integration

KILLS, SEED = 18, 20260310
FIELDS = """\
fields:
  - {name: user_id, type: text}
  - {name: segment, type: text}
  - {name: lifetime_revenue, type: "decimal(18,2)"}
"""
COMMON = "description: For a test.\ngate: [marts.mart_user_segments]\nbatch_size: 5\nlimits: {empty: true}\n"
SYNCS = {
    "crm_api": f"model: {CRM}\nkey: user_id\nmode: mirror\n{FIELDS}"
    "destination: {type: http, url: URL, timeout_seconds: 0.3}\n",
    "crm_file": f"model: {CRM}\nkey: user_id\nmode: mirror\n{FIELDS}destination: {{type: files, folder: mayhem}}\n",
    "mail_api": f"model: {EMAILS}\nkey: idempotency_key\nmode: append\nfields:\n  - {{name: idempotency_key, type: text}}\n"
    "destination: {type: http, url: ONCE, timeout_seconds: 0.3}\n",
    "mail_file": f"model: {EMAILS}\nkey: idempotency_key\nmode: append\nfields:\n  - {{name: idempotency_key, type: text}}\n"
    "destination: {type: files, folder: mayhem, format: csv}\n",
}
UNEQUAL = """
SELECT b.sync, b.sequence FROM activation.batches b
LEFT JOIN activation.all_rows l ON l.sync = b.sync AND l.sequence = b.sequence AND l.run_id = b.run_id
GROUP BY b.sync, b.sequence
HAVING count(*) FILTER (WHERE status = 'sent') <> b.sent OR count(*) FILTER (WHERE status = 'rejected') <> b.rejected"""
"""Batches of which the log has not one entry a row, wherever that lies by now."""
SHIPPED = ("crm_user_segments", "abandoned_search_emails", "recommendations")


def declared(folder: Path, crm: str, mail: str) -> Path:
    for name, text in SYNCS.items():
        (folder / f"{name}.yaml").write_text(f"name: {name}\n{text}{COMMON}".replace("URL", crm).replace("ONCE", mail))
    for name in SHIPPED:
        lines = (SYNCS_DIR / f"{name}.yaml").read_text().splitlines()
        text = "\n".join(line for line in lines if not line.startswith("batch_size"))
        (folder / f"{name}.yaml").write_text(f"{text}\nbatch_size: 5\n")
    return folder


def test_after_many_kills_every_destination_equals_the_model(scene: Scene, tmp_path: Path) -> None:
    for table in (CRM, EMAILS, RECO):
        scene.model(table, [])
    with running_api() as crm, running_api() as mail:
        folder = declared(tmp_path, crm.url, mail.url)
        crm.mood, mail.mood = random.Random(SEED), random.Random(SEED + 1)
        command = [sys.executable, "-m", "tests.activations.mayhem", str(scene.settings.home), str(folder)]
        done = subprocess.run(
            [*command, str(SEED), str(KILLS), *SYNCS, *SHIPPED],
            cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=540,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        ended = json.loads(done.stdout)
        assert (ended["killed"], ended.get("failed", 0)) == (KILLS, 0), done.stderr
        moods = crm.moods + mail.moods
        crm.mood = mail.mood = None
        for name in (*SYNCS, *SHIPPED):
            scene.run(name, folder=folder, approve=True)
            assert scene.run(name, folder=folder).status == "unchanged"

        users = dict(scene.lake(f"SELECT user_id, (segment, lifetime_revenue::VARCHAR) FROM {CRM}"))
        keys = {row[0] for row in scene.lake(f"SELECT idempotency_key FROM {EMAILS}")}
        assert len(users) > 10
        assert len(keys) > 50
        there = scene.sql(
            "crm", "SELECT user_id, segment, lifetime_revenue::text FROM crm.user_segments WHERE is_active"
        )
        assert {user: (segment, revenue) for user, segment, revenue in there} == users
        at_api = {user: (row["segment"], f"{row['lifetime_revenue']:.2f}") for user, row in crm.rows.items()}
        assert at_api == users
        assert Counter(message["idempotency_key"] for message in scene.outbox()) == Counter(keys)
        assert mail.applied == Counter(keys)  # nothing is sent twice where once matters
        for name in ("crm_file", "mail_file", *SHIPPED):
            assert scene.reconcile(name, folder=folder).drifted == 0, name
        reco = scene.lake(f"SELECT user_id, destination, score FROM {RECO}")
        assert {(user, place, f"{score:.6f}") for user, place, score in reco} == {
            (user, place, score)
            for user in {row[0] for row in reco}
            for place, score in scene.reco(user).items()
        }  # fmt: skip
    assert len(moods) >= 3, moods
    assert scene.sql("ledger", UNEQUAL) == []
    assert scene.sql("ledger", "SELECT count(*) FROM activation.in_flight") == [(0,)]
