"""Lineage as data: up to the fields of raw events, down to the fields of destinations, and what is personal on the way."""

from __future__ import annotations

import pytest

from activations.lineage import uses as of_syncs
from dashboards.lineage import uses as of_dashboards
from searchflow.transformation import Node, bare, tree
from searchflow.transformation.graph import Graph, graph_of

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:sqlmesh.*", "ignore::DeprecationWarning:sqlglot.*")


@pytest.fixture(scope="module")
def graph() -> Graph:
    return graph_of(bare.BareModels().context, [*of_syncs(), *of_dashboards()])


def reached(node: Node) -> set[str]:
    """Every column below, once."""
    found: set[str] = set()
    pending = list(node.parents)
    while pending:
        each = pending.pop()
        if f"{each.table}.{each.column}" not in found:
            found.add(f"{each.table}.{each.column}")
            pending += each.parents
    return found


def test_a_column_is_followed_up_to_fields_of_events_and_to_feeds(graph: Graph) -> None:
    up = reached(tree(graph, ("marts.mart_campaign_attribution", "roas")))
    assert {
        "raw.conversion_events.payload $.booking_value",
        "raw.search_events.payload $.utm_source",
        "raw.ad_spend.cost",
        "seeds.fx_rates.rate_to_cad",
        "intermediate.int_search_sessions.*",  # of a model in Python, the tables
    } <= up
    assert "raw.search_events.payload $.query" not in up
    assert "raw.search_events.payload" not in up  # not the whole document: the fields of it


def test_a_field_is_followed_down_to_destinations_and_pages(graph: Graph) -> None:
    down = reached(tree(graph, ("raw.conversion_events", "payload $.booking_value"), down=True))
    assert {
        "marts.mart_campaign_attribution.roas",
        "sync crm_user_segments.lifetime_revenue",
        "crm.user_segments.lifetime_revenue",
        "dashboard attribution.*",
    } <= down
    through_python = reached(tree(graph, ("intermediate.int_search_sessions", "channel"), down=True))
    assert "marts.mart_campaign_attribution.revenue" in through_python


def test_personal_marks_follow_the_columns_into_syncs_and_destinations(graph: Graph) -> None:
    outbox = graph.tables["searchflow:email:outbox"].columns
    assert outbox["email"].personal == "raw.user_profiles.email"
    assert outbox["query"].personal == "staging.stg_search_events.query"
    assert outbox["searched_at"].personal == ""
    crm = graph.tables["crm.user_segments"].columns
    assert {name for name, column in crm.items() if column.personal} == set()


def test_members_of_a_hash_are_called_what_they_are_there(graph: Graph) -> None:
    assert set(graph.tables["searchflow:reco:"].columns) == {"key", "member", "value"}
