from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import activations
from expectations import GROUPS, load_suites, suite_names
from expectations.suite import Suite, critical, not_null
from searchflow import gates
from searchflow.errors import ConfigurationError, NotFoundError
from searchflow.settings import ROOT
from searchflow.tables import RAW_TABLES


def test_every_raw_table_mart_and_activation_model_has_a_suite() -> None:
    models = {
        f"{schema}.{path.stem}"
        for schema in ("marts", "activation")
        for path in (ROOT / "models" / schema).glob("*.*")
        if path.suffix in (".sql", ".py") and not path.stem.startswith("_")
    }
    assert ({f"raw.{table}" for table in RAW_TABLES} | models) - set(suite_names()) == set()


KINDS = {
    "shape": ("has_columns", "has_exactly_columns"),
    "keys": ("unique:", "once_a_delivery"),
    "volume": ("usual_volume:", "usual_size", "as_many_as"),
    "time": ("fresh:", "keeps_up:", "up_to_date", "recent_months", "not_ahead:"),
}
TIMELESS = {
    "marts.mart_attribution_markov", "marts.mart_position_clicks", "marts.mart_position_corrected_clicks",
    "marts.mart_recommendation_quality", "marts.mart_recommendations", "marts.mart_sync_lift",
}  # fmt: skip
"""Their rows have no time of their own; how fresh they are is a service level."""


@pytest.mark.parametrize("kind", KINDS)
def test_every_suite_looks_at_shape_keys_volume_and_time(kind: str) -> None:
    without = {
        suite.name for suite in load_suites() if not any(check.name.startswith(KINDS[kind]) for check in suite.checks)
    }
    if kind == "time":
        without -= TIMELESS | {"activation.act_crm_user_segments", "activation.act_recommendations"}
    if kind == "volume":
        without -= {"ops.ingestion_batches"}  # it holds the volume of all others
    assert without == set()


def test_a_group_holds_its_suites_and_a_name_holds_one() -> None:
    assert {suite.group for suite in load_suites("raw")} == {"raw"}
    assert [suite.name for suite in load_suites("marts.dim_users")] == ["marts.dim_users"]
    assert len(load_suites("all")) == sum(len(load_suites(group)) for group in GROUPS)


def test_an_unknown_suite_is_named_with_the_closest_known_one() -> None:
    with pytest.raises(NotFoundError, match=r"No suite is called 'marts.dim_user'. Did you mean marts.dim_users\?"):
        load_suites("marts.dim_user")


def test_every_check_says_a_sentence_and_every_suite_what_it_concerns() -> None:
    for suite in load_suites():
        assert suite.title
        assert suite.numbers
        assert any(check.severity == "critical" for check in suite.checks), suite.name
        for check in suite.checks:
            assert check.sentence.endswith("."), (suite.name, check.name)
            assert len(check.sentence.split()) > 3, (suite.name, check.name)


def test_what_a_suite_holds_back_is_what_the_files_of_the_syncs_say(tmp_path: Path) -> None:
    for name, sync in activations.load_syncs().items():
        for suite in load_suites():
            assert (name in gates.syncs_behind(suite.name)) == (suite.name in sync.gate), (name, suite.name)
    (tmp_path / "loyalty.yaml").write_text("name: loyalty\ntitle: Points\ngate: [raw, marts.dim_users]\nkey: user_id\n")
    assert gates.syncs_behind("raw.click_events", tmp_path) == ("loyalty",)
    assert gates.syncs_behind("marts.dim_users", tmp_path) == ("loyalty",)
    assert gates.syncs_behind("marts.mart_kpi_daily", tmp_path) == ()


def test_a_sync_file_without_a_gate_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "loyalty.yaml").write_text("name: loyalty\n")
    with pytest.raises(ConfigurationError, match=r"loyalty.yaml, line 1, .*gate"):
        gates.gated_syncs(tmp_path)


def test_the_gate_of_a_sync_covers_every_checked_table_that_its_model_is_made_from() -> None:
    checked = set(suite_names()) - {"ops.ingestion_batches"}  # not read by a model; everything in raw is booked there
    for name, sync in activations.load_syncs().items():
        assert checked & {sync.model, *upstream(sync.model)} == set(sync.gate) - {"ops.ingestion_batches"}, name


def upstream(model: str) -> set[str]:
    """Tables that a model is made from, however far up, by the text of the model files."""
    found: set[str] = set()
    pending = [model]
    while pending:
        for path in (ROOT / "models").glob(f"{pending.pop().replace('.', '/')}.*"):
            text = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.DOTALL)
            named = set(re.findall(r"\b(?:raw|staging|intermediate|marts)\.[a-z_]+", text)) - found
            found |= named
            pending += named
    return found


def test_two_checks_of_a_suite_cannot_share_a_name() -> None:
    twice = critical("Every user has an identifier.", not_null("user_id"))
    with pytest.raises(ValueError, match="two checks are called not_null:user_id"):
        Suite(table="marts.x", group="marts", title="x", numbers="x", checks=(twice, twice))


def test_reading_the_catalogue_does_not_import_great_expectations() -> None:
    code = "import sys, expectations; expectations.load_suites(); sys.exit('great_expectations' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
