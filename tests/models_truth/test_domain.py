"""The words of the domain are the same in `searchflow.domain`, in the models' SQL and in the dashboards."""

from __future__ import annotations

import pytest
from sqlglot import exp

from dashboards import formats, theme
from dashboards.queries import attribution, segments
from searchflow import domain
from searchflow.transformation import bare

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:sqlmesh.*", "ignore::DeprecationWarning:sqlglot.*")


@pytest.fixture(scope="module")
def models() -> dict[str, exp.Expression]:
    return {model.name: model.render_query_or_raise() for model in bare.BareModels().models if model.is_sql}


def chosen(query: exp.Expression, otherwise: str) -> list[str]:
    """The names that the CASE with this last one gives, in order."""
    for case in query.find_all(exp.Case):
        last = case.args.get("default")
        if isinstance(last, exp.Literal) and last.this == otherwise:
            return [*(branch.args["true"].this for branch in case.args["ifs"]), otherwise]
    raise AssertionError(f"no CASE ends with {otherwise}")


def test_the_models_give_the_segments_in_their_order(models: dict[str, exp.Expression]) -> None:
    assert chosen(models["marts.mart_user_segments"], "regular") == list(domain.SEGMENTS)


def test_the_models_give_the_channels(models: dict[str, exp.Expression]) -> None:
    for name in ("marts.fct_search_funnel", "intermediate.int_search_sessions"):
        assert chosen(models[name], "other") == list(domain.CHANNELS)


def test_the_models_credit_bookings_in_the_ways_that_are_declared(models: dict[str, exp.Expression]) -> None:
    """In `CASE WHEN models.model = ... THEN`, and in the list that the cases are made for."""
    query = models["marts.mart_campaign_attribution"]
    texts = {literal.this for literal in query.find_all(exp.Literal) if literal.is_string}
    named = {alias.this.this for alias in query.find_all(exp.Alias) if alias.alias == "model" and alias.this.is_string}
    assert named <= set(domain.ATTRIBUTION_MODELS) <= texts


def test_the_dashboards_have_a_colour_a_label_and_a_meaning_for_each() -> None:
    assert set(theme.CHANNELS) == set(domain.CHANNELS)
    assert set(theme.SEGMENTS) == set(segments.ORDER) == set(domain.SEGMENTS)
    assert list(attribution.MODELS) == list(domain.ATTRIBUTION_MODELS)
    assert {formats.label(name) for name in domain.SEGMENTS} == set(domain.SEGMENTS.values())


def test_no_name_has_two_labels() -> None:
    groups = (
        domain.SEGMENTS,
        domain.CHANNELS,
        domain.ATTRIBUTION_MODELS,
        domain.PRODUCT_TYPES,
        domain.PLATFORMS,
        domain.DEVICE_TYPES,
    )
    assert len(domain.LABELS) == sum(map(len, groups))
