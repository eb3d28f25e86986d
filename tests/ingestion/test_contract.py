"""What an event is, and what every reason for a dead letter looks like."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import duckdb
import msgspec
import pytest

from searchflow import events
from searchflow.events import Rejection
from searchflow.ingestion.checks import TimeLimits, prepare
from searchflow.ingestion.shapes import Shapes
from searchflow.ingestion.source import SourceBatch
from tests import foreign

# Reasons that only show on whole columns or against the clock: tested with the warehouse.
LATER = {"timestamp_in_future", "timestamp_too_old"}


@pytest.mark.parametrize("code", sorted(set(foreign.refused()) - LATER))
def test_each_refused_line_has_its_reason_and_shows_no_value(code: str) -> None:
    for line in foreign.refused()[code]:
        good, _, rejected = events.decode([line])
        if good:  # found on columns: a UUID, a NUL, text the warehouse cannot read
            continue
        assert rejected[0].code == code
        assert "Lisbon" not in rejected[0].reason
        assert "not-a-uuid" not in rejected[0].reason


def test_unknown_fields_and_null_optional_fields_are_welcome() -> None:
    document = foreign.search(
        1, user_id=None, filters=None, utm_source=None, loyalty={"tier": "gold"}, platform="watch"
    )
    good, decoded, rejected = events.decode([json.dumps(document).encode()])
    assert good == [0]
    assert rejected == {}
    assert isinstance(decoded[0], events.EVENT_CLASSES["search"])
    assert decoded[0].user_id is None
    assert msgspec.structs.asdict(decoded[0])["platform"] == "watch"


@pytest.mark.parametrize(
    "moment", ["2026-05-20T10:00:00Z", "2026-05-20T12:00:00+02:00", "2026-05-20T10:00Z", "20260520T100000Z"]
)
def test_every_iso_8601_form_with_an_offset_is_the_same_moment(moment: str) -> None:
    _, decoded, rejected = events.decode([json.dumps(foreign.search(1, timestamp=moment)).encode()])
    assert rejected == {}
    assert decoded[0].timestamp.timestamp() == 1_779_271_200


def test_a_rejection_names_the_field_and_the_type_of_its_value() -> None:
    found = events.explain(foreign.line(**foreign.search(1, results_count="12")))
    assert isinstance(found, Rejection)
    assert found.event_type == "search"
    assert found.reason.startswith("results_count is a string")


def test_key_order_and_white_space_make_no_other_document() -> None:
    assert events.same_document('{"a": 1, "b": [1.0, null]}', '{"b":[1.0,null],"a":1}')
    assert not events.same_document('{"a": 1}', '{"a": 2}')


@pytest.mark.parametrize(
    ("kind", "changes", "code"),
    [
        ("conversion", {"booking_value": 1e15}, "invalid_value"),
        ("conversion", {"booking_value": 12345678901234567890}, "invalid_value"),
        ("conversion", {"commission": 1e308}, "invalid_value"),
        ("conversion", {"booking_value": -0.01}, "invalid_value"),
        ("click", {"result_price": 1e15}, "invalid_value"),
        ("click", {"result_position": 2**31}, "invalid_value"),
        ("search", {"results_count": 3_000_000_000}, "invalid_value"),
        ("search", {"results_count": 2**64}, "invalid_value"),
        ("search", {"page": 2**31}, "invalid_value"),
        ("search", {"filters": {"price_max": 1e15}}, "invalid_value"),
        ("search", {"filters": {"price_min": -1}}, "invalid_value"),
        ("search", {"filters": {"travelers": 2.5}}, "invalid_value"),
        ("search", {"filters": {"travelers": 2**31}}, "invalid_value"),
        ("search", {"filters": {"dates": ["2026-02-30", None]}}, "invalid_value"),
        ("search", {"filters": {"dates": ["10000-01-01"]}}, "invalid_value"),
        ("search", {"filters": {"dates": ["2026-02-03"] * 3}}, "invalid_value"),
        ("search", {"filters": {"dates": [20260203]}}, "wrong_type"),
        ("search", {"geo": {"latitude": 90.01}}, "invalid_value"),
        ("search", {"geo": {"longitude": -180.01}}, "invalid_value"),
    ],
)
def test_a_value_that_no_column_holds_is_refused_by_every_decoder(
    kind: str, changes: dict[str, object], code: str
) -> None:
    line = json.dumps(getattr(foreign, kind)(1, **changes)).encode()
    found = events.decode_one(line)
    assert isinstance(found, Rejection)
    assert found.code == code
    field = next(iter(changes))
    assert found.reason.startswith(field)
    learned = Shapes()
    learned.learn("search", {"filters.*": {"*"}, "geo.zone": {"number"}})
    for shapes in (Shapes(), learned):
        with pytest.raises(events.UNDECODABLE):
            shapes.whole.decode(line)


@pytest.mark.parametrize(
    "written",
    [
        "2026-05-20T23:59:59.9999999Z",
        "2026-05-20T23:59:59.999999999+00:00",
        "2026-05-20t23:59:59.9999995z",
        "2026-05-20 23:59:59,9999999Z",
        "2026-05-21T01:59:59.99999999+02:00",
    ],
)
@pytest.mark.parametrize("escaped", [False, True])
def test_a_moment_is_cut_to_microseconds_and_never_rounded_into_the_next_day(written: str, escaped: bool) -> None:
    line = json.dumps(foreign.search(1, timestamp=written)).encode()
    if escaped:
        line = line.replace(b'"timestamp"', b'"\\u0074imestamp"').replace(b".9", b".\\u0039")
    limits = TimeLimits(datetime(2015, 1, 1, tzinfo=UTC), timedelta(days=1), timedelta(hours=1))
    with duckdb.connect(":memory:") as connection:
        prepared = prepare(connection, SourceBatch([line], ["1"], ""), None, foreign.NOW, limits)
    [moment] = prepared.columns["search"].column("event_ts").to_pylist()
    assert moment == datetime(2026, 5, 20, 23, 59, 59, 999999)  # noqa: DTZ001 (the warehouse's UTC has no zone)
