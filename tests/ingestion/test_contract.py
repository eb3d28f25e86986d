"""What an event is, and what every reason for a dead letter looks like."""

from __future__ import annotations

import json

import pytest

from searchflow import events
from searchflow.events import Rejection
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
    assert isinstance(decoded[0], events.SearchEvent)
    assert decoded[0].user_id is None
    assert decoded[0].platform == "watch"


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
