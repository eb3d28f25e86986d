"""Personal columns are marked once; the mark follows lineage into models, masked views, syncs and exports."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest

import activations
from searchflow import warehouse
from searchflow.ops import audit_log
from searchflow.privacy import export, masking
from searchflow.settings import ROOT, Settings
from searchflow.tables import RAW_TABLES
from searchflow.transformation.lineage import lineage_of_all
from searchflow.transformation.marks import DECLARED, DOCUMENTS, identifying, marked, personal_columns

pytestmark = pytest.mark.integration
HOSTILE = '=HYPERLINK("http://evil.example")'


@pytest.fixture(scope="module")
def marks(platform: Settings) -> dict[str, dict[str, str]]:
    return personal_columns(platform)


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
    for declared in (DECLARED, DOCUMENTS):
        for table, columns in declared.items():
            known = RAW_TABLES.get(table.removeprefix("raw."))
            assert known is None or all(f"{column} " in known for column in columns), table


def test_the_contract_says_every_column_of_a_profile_but_the_user_is_personal() -> None:
    provenance = {"user_id", "created_at", "updated_at", "ingested_at", "source", "source_position", "batch_id"}
    columns = {part.split()[0] for part in RAW_TABLES["user_profiles"].split(",")}
    marked = {*DECLARED["raw.user_profiles"], *DOCUMENTS["raw.user_profiles"]}
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
        values = ", ".join("?" for _ in row)
        connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({values})", list(row.values()))
    path = tmp_path / "rows.csv"
    export.export(company, table, path)
    [found] = csv.DictReader(path.read_text(encoding="utf-8").splitlines())
    assert found[masked] == masking.pseudonym(company, "u-1")
    assert "u-1" not in path.read_text(encoding="utf-8")


def test_every_text_that_a_model_makes_from_a_user_id_is_known(platform: Settings) -> None:
    found = identifying(lineage_of_all(platform))
    for table, column in (
        ("intermediate.int_identity", "visitor_id"),
        ("intermediate.int_user_journeys", "visitor_id"),
        ("marts.dim_users", "user_id"),
        ("activation.act_abandoned_search_emails", "idempotency_key"),
        ("activation.act_recommendations", "user_id"),
    ):
        assert column in found[table], table
    assert "unit" not in found.get("ops.service_levels", ())  # that one is a unit of measure
    assert found["marts.dim_users"].isdisjoint({"country", "platform", "device_type"})  # an id only decides which one
    assert "previous_segment" not in found["marts.mart_user_segment_history"]


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


def test_a_raw_document_that_no_mark_judges_is_masked_and_never_exported(
    fresh_platform: Settings, tmp_path: Path
) -> None:
    with warehouse.connect(fresh_platform) as connection:
        connection.execute("""
            CREATE TABLE raw.crm_notes (id BIGINT, user_id VARCHAR, amount DECIMAL(18, 2), noted_at TIMESTAMP,
                note VARCHAR, body STRUCT(phone VARCHAR), tags VARCHAR[], content BLOB);
            INSERT INTO raw.crm_notes VALUES (1, 'u-1', 2.50, '2026-05-20', 'Zoé called', {phone: '+1 555'}, ['zoe'], 'x');
            INSERT INTO raw.ad_spend VALUES ('2026-05-20', 'g', 'c', 'CAD', 1, 1, 1, '{"mail": "zoe@example.org"}',
                '2026-05-20', 'f', '1', 'b')""")
    made = masking.make_views(fresh_platform)
    assert {"masked.raw_crm_notes", "masked.raw_ad_spend", "masked.raw_search_events"} <= set(made)
    with warehouse.connect(fresh_platform, read_only=True) as connection:
        [row] = connection.execute("SELECT * EXCLUDE (noted_at) FROM masked.raw_crm_notes").fetchall()
        assert [str(value) for value in row] == ["1", "u-1", "2.50", "•••", "None", "None", "None"]
        assert connection.execute("SELECT payload FROM masked.raw_ad_spend").fetchall() == [("•••",)]
    for table, columns in {
        "raw.crm_notes": ["id", "user_id", "amount", "noted_at"],
        "raw.search_events": ["event_id", "event_ts", "user_id", "session_id"],
    }.items():
        export.export(fresh_platform, table, tmp_path / "out.csv")
        header = (tmp_path / "out.csv").read_text(encoding="utf-8").splitlines()[0].split(",")
        assert header[: len(columns)] == columns
        assert not {"payload", "note", "body", "tags", "content"} & set(header)
    export.export(fresh_platform, "raw.ad_spend", tmp_path / "spend.csv")
    assert "zoe" not in (tmp_path / "spend.csv").read_text(encoding="utf-8")


def test_a_column_that_a_model_takes_from_a_document_is_personal_unless_its_field_is_declared(tmp_path: Path) -> None:
    from searchflow.transformation import bare, lineage

    for name in ("models", "seeds", "macros", "audits", "materializations", "linter"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("config.yaml", "external_models.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    model = tmp_path / "models" / "staging" / "stg_click_events.sql"
    more = """
  LOWER(@JSON_TEXT(payload, '$.email'))::TEXT AS contact, /* not declared */
  @JSON_TEXT(payload, '$.result_provider.name')::TEXT AS seller, /* inside of a declared field */
  payload::TEXT AS whole, /* all of it */
  LENGTH(payload)::INT AS size, /* made from all of it */
"""
    last = "  ingested_at::TIMESTAMP AS ingested_at"
    assert model.read_text().count(last) == 1
    model.write_text(model.read_text().replace(last, f"{more}{last}"))
    found = marked(lineage.trees(bare._load(tmp_path)))["staging.stg_click_events"]
    assert found == {
        "contact": "raw.click_events.payload $.email",
        "whole": "raw.click_events.payload",
        "size": "raw.click_events.payload",
    }
