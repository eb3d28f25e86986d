"""Personal columns are marked once; the mark follows lineage into models, masked views, syncs and exports."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

import activations
from searchflow import warehouse
from searchflow.ops import audit_log
from searchflow.privacy import export, masking, personal
from searchflow.settings import Settings
from searchflow.transformation.lineage import lineage_of_all
from searchflow.warehouse import RAW_TABLES

pytestmark = pytest.mark.integration
HOSTILE = '=HYPERLINK("http://evil.example")'


@pytest.fixture(scope="module")
def marks(platform: Settings) -> dict[str, dict[str, str]]:
    return personal.personal_columns(platform)


@pytest.fixture
def company(fresh_platform: Settings) -> Settings:
    """Two people in the tables of the contract and one table of a model."""
    with warehouse.connect(fresh_platform) as connection:
        connection.execute("""
            CREATE SCHEMA IF NOT EXISTS marts;
            CREATE TABLE marts.dim_users AS SELECT * FROM (VALUES
                ('u-1', 'zoe.martin@example.org', 'Zoé Martin', TRUE, '=1+1'), ('u-2', NULL, NULL, NULL, 'CA')
            ) AS users (user_id, email, name, marketing_consent, country)""")
    return fresh_platform


def test_every_declared_column_exists() -> None:
    for declared in (personal.DECLARED, personal.DOCUMENTS):
        for table, columns in declared.items():
            known = RAW_TABLES.get(table.removeprefix("raw."))
            assert known is None or all(f"{column} " in known for column in columns), table


def test_the_contract_says_every_column_of_a_profile_but_the_user_is_personal() -> None:
    provenance = {"user_id", "created_at", "updated_at", "ingested_at", "source", "source_position", "batch_id"}
    columns = {part.split()[0] for part in RAW_TABLES["user_profiles"].split(",")}
    marked = {*personal.DECLARED["raw.user_profiles"], *personal.DOCUMENTS["raw.user_profiles"]}
    assert marked == columns - provenance


def test_the_mark_follows_lineage_and_stops_at_aggregates(marks: dict[str, dict[str, str]]) -> None:
    assert marks["marts.dim_users"]["email"] == "raw.user_profiles.email"
    assert marks["marts.mart_abandoned_searches"]["query"] == "staging.stg_search_events.query"
    assert "country" not in marks["marts.dim_users"]  # of the newest visit, not of the profile
    assert not marks.keys() & {
        "marts.mart_kpi_daily",
        "marts.mart_campaign_attribution",
        "activation.act_crm_user_segments",
    }


def test_what_a_sync_masks_is_what_lineage_marks(marks: dict[str, dict[str, str]]) -> None:
    for name, sync in activations.load_syncs().items():
        marked = set(marks.get(sync.model, ()))
        assert {field.name for field in sync.fields if field.source in marked} == set(sync.personal), name


def test_a_masked_view_shows_no_personal_value(company: Settings) -> None:
    assert "masked.marts_dim_users" in masking.make_views(company)
    with warehouse.connect(company, read_only=True) as connection:
        rows = connection.execute("FROM masked.marts_dim_users ORDER BY user_id").fetchall()
    assert rows == [("u-1", "•••", "•••", None, "=1+1"), ("u-2", None, None, None, "CA")]


def test_an_export_has_pseudonyms_no_personal_column_and_no_formula(company: Settings, tmp_path: Path) -> None:
    path = tmp_path / "users.csv"
    assert export.export(company, "marts.dim_users", path) == 2
    rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    assert rows == [
        {"user_id": masking.pseudonym(company, "u-1"), "country": "'=1+1"},
        {"user_id": masking.pseudonym(company, "u-2"), "country": "CA"},
    ]
    assert audit_log.show(company, action="export")[0]["object"] == "marts.dim_users"


@pytest.mark.parametrize(
    ("table", "row", "masked"),
    [
        ("ops.sync_assignments", {"sync": "s", "unit": "u-1", "arm": "treated"}, "unit"),
        ("ops.sync_rejections", {"sync": "s", "key": "u-1", "payload": '{"user_id": "u-1"}'}, "key"),
        ("ops.quarantined_rows", {"suite": "s", "key": "u-1"}, "key"),
    ],
)
def test_an_export_masks_a_user_id_under_another_name(
    company: Settings, tmp_path: Path, table: str, row: dict[str, str], masked: str
) -> None:
    with warehouse.connect(company) as connection:
        marks = ", ".join("?" for _ in row)
        connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", list(row.values()))
    path = tmp_path / "rows.csv"
    export.export(company, table, path)
    [found] = csv.DictReader(path.read_text(encoding="utf-8").splitlines())
    assert found[masked] == masking.pseudonym(company, "u-1")
    assert "u-1" not in path.read_text(encoding="utf-8")


def test_every_text_that_a_model_makes_from_a_user_id_is_known(platform: Settings) -> None:
    found = personal.identifying(lineage_of_all(platform))
    for table, column in (
        ("intermediate.int_identity", "visitor_id"),
        ("intermediate.int_user_journeys", "visitor_id"),
        ("marts.dim_users", "user_id"),
        ("activation.act_abandoned_search_emails", "idempotency_key"),
        ("activation.act_recommendations", "user_id"),
    ):
        assert column in found[table], table
    assert "unit" not in found.get("ops.service_levels", ())  # that one is a unit of measure


def test_a_pseudonym_is_stable_and_depends_on_the_key(company: Settings, platform: Settings) -> None:
    first = masking.pseudonym(company, "u-1")
    assert first == masking.pseudonym(company, "u-1")
    assert first != masking.pseudonym(platform, "u-1")
    assert "u-1" not in first
    assert (company.home / "keys" / "secret").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", [HOSTILE, "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_text_that_a_spreadsheet_would_run_becomes_text(text: str) -> None:
    assert export.harmless(text) == f"'{text}"
    assert export.harmless(-1.5) == -1.5
