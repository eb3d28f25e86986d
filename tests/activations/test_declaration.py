"""Syncs are files: valid ones load, wrong ones say where and what."""

from __future__ import annotations

from pathlib import Path

import pytest

from activations import load_sync, load_syncs
from activations.declaration import destination_module, destination_types
from searchflow.errors import ConfigurationError, NotFoundError

GOOD = """\
name: example
description: For a test.
model: activation.act_recommendations
key: user_id
mode: mirror
fields:
  - {name: user_id, type: text}
  - {name: score, type: "decimal(9,2)"}
destination:
  type: postgres_table
  table: crm.example
gate: [marts]
limits:
  removed_share: 0.5
"""


def written(folder: Path, text: str) -> Path:
    (folder / "example.yaml").write_text(text)
    return folder


def test_the_three_syncs_are_those_of_the_contract() -> None:
    syncs = load_syncs()
    assert {name: (sync.model, sync.kind, sync.key, sync.mode) for name, sync in syncs.items()} == {
        "abandoned_search_emails": (
            "activation.act_abandoned_search_emails",
            "redis_stream",
            "idempotency_key",
            "append",
        ),
        "crm_user_segments": ("activation.act_crm_user_segments", "postgres_table", "user_id", "mirror"),
        "recommendations": ("activation.act_recommendations", "redis_hash", "user_id", "mirror"),
    }
    assert syncs["crm_user_segments"].options().table == "crm.user_segments"
    assert syncs["abandoned_search_emails"].options().stream == "searchflow:email:outbox"
    assert syncs["recommendations"].options().prefix == "searchflow:reco:"
    for sync in syncs.values():
        assert sync.schedule
        assert sync.model in sync.gate


def test_an_unknown_sync_lists_the_known_ones() -> None:
    with pytest.raises(NotFoundError, match="Did you mean recommendations") as raised:
        load_sync("recomendations")
    assert "crm_user_segments" in str(raised.value)


def test_a_good_file_loads(tmp_path: Path) -> None:
    sync = load_sync("example", written(tmp_path, GOOD))
    assert (sync.limits.removed_share, sync.batch_size, sync.schedule) == (0.5, 1000, None)


@pytest.mark.parametrize(
    ("wrong", "right", "said"),
    [
        ("removed_share: 5", "removed_share: 0.5", "line 14, limits.removed_share: expected `float` <= 1.0"),
        ("removed_shares: 0.5", "removed_share: 0.5", "line 14, limits.removed_shares: object contains unknown field"),
        ("type: decimal}", 'type: "decimal(9,2)"}', "line 8, fields[1].type: expected `str` matching regex"),
        ("mode: delete", "mode: mirror", "line 5, mode: invalid enum value 'delete'"),
        (
            "mode: append",
            "mode: mirror",
            "line 5, mode: postgres_table cannot append; it can insert, mirror, update, upsert",
        ),
        ("key: id", "key: user_id", "line 4, key: names the field 'id', which `fields` does not declare"),
        ("table: example", "table: crm.example", "line 11, destination.table: expected `str` matching regex"),
        ("tabel: crm.example", "table: crm.example", "line 11, destination.tabel: object contains unknown field"),
        ("type: ftp", "type: postgres_table", "line 10, destination.type: no destination type is called 'ftp'"),
        ("name: other", "name: example", "line 1, name: is 'other', but the file is example.yaml"),
        (
            "schedule: 0 25 * * *\ngate: [marts]",
            "gate: [marts]",
            "line 12, schedule: is no cron line: [0 25 * * *] is not acceptable, out of range",
        ),
        ("rate: {per: hour}\ngate: [marts]", "gate: [marts]", "line 12, rate: says neither `rows` nor `batches`"),
        ("{name: score, nulls: maybe, ", "{name: score, ", "line 8, fields[1].nulls: invalid enum value 'maybe'"),
        ("gate: []", "gate: [marts]", "line 12, gate: expected `array` of length >= 1"),
        ("gate: [marts", "gate: [marts]", "line 13, the file: expected ',' or ']'"),
        ("", "model: activation.act_recommendations\n", "model: object missing required field"),
        (
            "model: activation.act_recomendations",
            "model: activation.act_recommendations",
            "line 3, model: names activation.act_recomendations, but there is no "
            "models/activation/act_recomendations.sql; did you mean activation.act_recommendations?",
        ),
        (
            "gate: [marts, marts.dim_user]",
            "gate: [marts]",
            "line 12, gate[1]: names the suite 'marts.dim_user', which is not in expectations/; "
            "did you mean marts.dim_users?",
        ),
        ("removed: -1", "removed_share: 0.5", "line 14, limits.removed: expected `int` >= 0"),
        ("schedule: hourly\ngate: [marts]", "gate: [marts]", "line 12, schedule: is a cron line of five fields"),
    ],
)
def test_a_wrong_file_names_file_line_and_field(tmp_path: Path, wrong: str, right: str, said: str) -> None:
    folder = written(tmp_path, GOOD.replace(right, wrong))
    with pytest.raises(ConfigurationError) as raised:
        load_sync("example", folder)
    message = str(raised.value)
    assert "example.yaml, line" in message
    assert said in message
    assert "\n" not in message
    assert message.endswith("Correct the file, then run again.")


@pytest.mark.parametrize(
    "line", ["0 6 * * MON-FRI", "@daily", "@HOURLY", "*/15 6-20 * JAN,jul *", "0 22-6 * * *", "0 0 29 2 *", "0 0 * * 7"]
)
def test_a_cron_line_may_have_names_words_and_ranges_over_midnight(line: str) -> None:
    from activations.schedule import cron_problem

    assert cron_problem(line) is None


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "five fields"),
        ("* * * * * *", "not of 6"),  # croniter would take the sixth for seconds
        ("MON-FRI", "five fields"),
        ("0 0 * * MON-FRI,xyz", "no cron line"),
        ("0 0 1-5/0 * *", "step '0'"),
        ("0 0 31 2 *", "never comes"),
        ("R 6 * * *", "draws its moment"),
        ("@reboot", "@hourly, @daily"),
        ("@every 5m", "@hourly, @daily"),
    ],
)
def test_a_line_that_no_scheduler_takes_is_refused_where_it_is_written(line: str, said: str) -> None:
    from activations.schedule import cron_problem

    assert said in (cron_problem(line) or "")


def test_every_destination_module_keeps_the_contract() -> None:
    assert destination_types() == ["files", "http", "postgres_table", "redis_hash", "redis_stream"]
    for kind in destination_types():
        module = destination_module(kind)
        assert module.__doc__
        assert f"type: {kind}" in module.__doc__
        assert {"upsert", "insert", "update", "mirror", "append"} >= module.MODES
        assert isinstance(module.KEEPS_FIELDS, bool)
        assert isinstance(module.GROUPS, bool)
        assert callable(module.open_destination)
        assert module.Options.__struct_config__.forbid_unknown_fields


def test_a_new_file_is_a_deployment_with_its_schedule_and_a_wrong_one_stops_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    from flows.deployments import sync_deployments

    written(tmp_path, GOOD + "schedule: 5 * * * *\n")
    (tmp_path / "asked.yaml").write_text(GOOD.replace("name: example", "name: asked"))
    (tmp_path / "broken.yaml").write_text(GOOD.replace("name: example", "name: broken").replace("mirror", "delete"))
    asked, example = sync_deployments(tmp_path)
    assert (asked.name, asked.schedule) == ("sync-asked", None)
    assert (example.name, example.schedule_text, example.why) == ("sync-example", "5 * * * *", "For a test.")
    made = example.prepared()
    assert (made.entrypoint, made.parameters) == ("flows.activation.activate", {"syncs": ["example"]})
    assert [schedule.schedule.cron for schedule in made.schedules] == ["5 * * * *"]  # type: ignore[union-attr]
    told = capsys.readouterr().err or caplog.text  # where Prefect logs to depends on what was imported before
    [said] = [line for line in told.splitlines() if "the sync broken is not scheduled" in line]
    assert "broken.yaml, line 5, mode: invalid enum value 'delete'" in said
