"""Files for people: whole or old, never half; no cell is a formula; the manifest names what counts."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

from searchflow.errors import ConfigurationError
from tests.activations.scene import CRM, Scene, crm_row

pytestmark = pytest.mark.integration

FILE = """\
name: segments_file
description: For a test.
model: activation.act_crm_user_segments
key: user_id
mode: {mode}
fields:
  - {{name: user_id, type: text}}
  - {{name: segment, type: text}}
  - {{name: lifetime_revenue, type: "decimal(18,2)"}}
  - {{name: last_seen_at, type: timestamp}}
destination: {{type: files, folder: "{folder}", format: {form}}}
gate: [marts.mart_user_segments]
batch_size: 2
limits: {{changed_share: 1, removed_share: 1}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "exports"


def declared(tmp_path: Path, folder: Path, form: str = "csv", mode: str = "mirror") -> Path:
    (tmp_path / "segments_file.yaml").write_text(FILE.format(mode=mode, folder=folder, form=form))
    return tmp_path


def manifest(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "segments_file.manifest.json").read_text())
    return found


def test_a_mirror_is_one_file_that_a_spreadsheet_cannot_run(scene: Scene, tmp_path: Path, folder: Path) -> None:
    syncs = declared(tmp_path, folder)
    formulas = ["=1+1", "+1", "-1", "@sum", "\tx", "'quoted"]
    scene.model(CRM, [crm_row(f"u{number}", text, "-1.50") for number, text in enumerate(formulas)])
    assert scene.run("segments_file", folder=syncs).added == 6
    text = (folder / "segments_file.csv").read_text()
    lines = text.splitlines()
    assert lines[0] == '"user_id","segment","lifetime_revenue","last_seen_at"'
    assert lines[1] == '"u0","\'=1+1","-1.50","2026-03-09 08:30:00.000000"'
    assert lines[6].startswith('"u5","\'\'quoted"')
    assert not [cell for line in lines for cell in line.split('","') if cell.strip('"').startswith(("=", "+", "@"))]
    assert scene.reconcile("segments_file", folder=syncs).drifted == 0  # and reading takes the apostrophes off again

    scene.model(CRM, [crm_row("u0", "regular"), crm_row("u9", "regular")])
    result = scene.run("segments_file", folder=syncs)
    assert (result.added, result.changed, result.removed) == (1, 1, 5)
    content = (folder / "segments_file.csv").read_bytes()
    assert [line.split(",")[0] for line in content.decode().splitlines()[1:]] == ['"u0"', '"u9"']
    [entry] = manifest(folder)["files"]
    assert (entry["name"], entry["rows"]) == ("segments_file.csv", 2)
    assert entry["sha256"] == hashlib.sha256(content).hexdigest()
    assert sorted(path.name for path in folder.iterdir()) == ["segments_file.csv", "segments_file.manifest.json"]


def test_an_append_is_a_part_a_batch_with_types(scene: Scene, tmp_path: Path, folder: Path) -> None:
    syncs = declared(tmp_path, folder, "parquet", "append")
    scene.model(CRM, [crm_row(f"u{number}") for number in range(3)])
    scene.run("segments_file", folder=syncs)
    first = (folder / "segments_file-00000000.parquet").read_bytes()
    scene.model(CRM, [crm_row(f"u{number}", "at_risk") for number in range(5)])
    assert scene.run("segments_file", folder=syncs).added == 2
    assert (folder / "segments_file-00000000.parquet").read_bytes() == first
    assert [(each["name"], each["rows"]) for each in manifest(folder)["files"]] == [
        (f"segments_file-{number:08}.parquet", rows) for number, rows in enumerate((2, 1, 2))
    ]
    with duckdb.connect(":memory:") as connection:
        rows = connection.execute("SELECT * FROM read_parquet(?)", [f"{folder}/*.parquet"]).fetchall()
        described = connection.execute("DESCRIBE SELECT * FROM read_parquet(?)", [f"{folder}/*.parquet"]).fetchall()
    assert [(row[0], row[1]) for row in rows] == [(f"u{n}", "regular" if n < 3 else "at_risk") for n in range(5)]
    assert [row[1] for row in described] == ["VARCHAR", "VARCHAR", "DECIMAL(18,2)", "TIMESTAMP"]


def test_a_batch_that_fails_half_way_leaves_the_file_before_it(
    scene: Scene, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from activations.destinations import _files

    syncs = declared(tmp_path, folder, "parquet")
    scene.model(CRM, [crm_row("u1"), crm_row("u2")])
    scene.run("segments_file", folder=syncs)
    before = (folder / "segments_file.parquet").read_bytes()
    scene.model(CRM, [crm_row("u1", "at_risk"), crm_row("u2")])

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(_files.os, "fsync", full)
        with pytest.raises(Exception, match=r"after 5 attempts \(files: ENOSPC\)"):
            scene.run("segments_file", folder=syncs, sleep=lambda seconds: None)
    assert (folder / "segments_file.parquet").read_bytes() == before
    assert scene.run("segments_file", folder=syncs).changed == 1


def test_what_another_program_broke_or_lost_is_said_and_repaired(scene: Scene, tmp_path: Path, folder: Path) -> None:
    syncs = declared(tmp_path, folder, "parquet")
    scene.model(CRM, [crm_row("u1"), crm_row("u2")])
    scene.run("segments_file", folder=syncs)
    path = folder / "segments_file.parquet"
    path.write_text("hello")
    with pytest.raises(ConfigurationError, match=r"a file in it is not as it was written\. Move it away, then run"):
        scene.reconcile("segments_file", folder=syncs)
    path.unlink()
    assert scene.reconcile("segments_file", folder=syncs, repair=True).repaired == 2
    assert scene.reconcile("segments_file", folder=syncs).drifted == 0


def test_a_folder_that_cannot_be_used_is_a_configuration(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    syncs = declared(tmp_path, tmp_path / "taken")
    scene.model(CRM, [crm_row("u1")])
    with pytest.raises(
        ConfigurationError, match=r"segments_file\.yaml, destination\.folder: the folder cannot be used"
    ):
        scene.run("segments_file", folder=syncs)


def test_a_field_that_is_added_later_is_filled(scene: Scene, tmp_path: Path, folder: Path) -> None:
    syncs = declared(tmp_path, folder)
    scene.model(CRM, [crm_row("u1"), crm_row("u2")])
    scene.run("segments_file", folder=syncs)
    path = tmp_path / "segments_file.yaml"
    path.write_text(path.read_text().replace("fields:\n", "fields:\n  - {name: country, type: text}\n"))
    assert scene.run("segments_file", folder=syncs).changed == 2
    assert (folder / "segments_file.csv").read_text().splitlines()[1].startswith('"CA","u1"')
