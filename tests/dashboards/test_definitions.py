"""Meanings stand once, in the models: what the pages read from the files is what SQLMesh reads."""

from __future__ import annotations

import ast
import re

import pytest

from dashboards import definitions
from searchflow.settings import ROOT
from searchflow.transformation.project import quiet


def test_descriptions_owners_and_sources_are_those_that_sqlmesh_finds() -> None:
    with quiet():
        from sqlmesh import Context

        context = Context(paths=[str(ROOT)])  # reads the files; no server is asked
    models = {model.name: model for model in context.models.values() if not model.kind.is_external}
    assert set(models) <= set(definitions.models())
    for name, model in models.items():
        found = definitions.models()[name]
        assert (found.owner, found.kind) == (model.owner, model.kind.name.value.lower().replace("_", " ")), name
        if model.kind.is_seed:
            continue
        assert found.columns == {key: " ".join(said.split()) for key, said in model.column_descriptions.items()}, name
        assert found.sources == {context.get_model(parent).name for parent in model.depends_on}, name


def test_a_python_model_says_what_its_columns_mean() -> None:
    model = definitions.models()["marts.mart_attribution_markov"]
    assert model.columns["removal_effect"].startswith("Share of the bookings that would be lost")
    assert model.sources == {"intermediate.int_search_sessions"}


def test_what_a_table_is_made_from_reaches_the_raw_events() -> None:
    above = definitions.upstream("marts.mart_kpi_daily")
    assert {"marts.fct_search_funnel_daily", "marts.fct_search_funnel", "raw.search_events"} <= above
    assert "marts.mart_kpi_daily" not in above
    assert definitions.upstream("no.such_table") == frozenset()


@pytest.mark.parametrize("page", sorted((ROOT / "dashboards" / "pages").glob("*.py")), ids=lambda path: path.stem)
def test_every_column_whose_meaning_a_page_asks_for_has_one(page) -> None:  # type: ignore[no-untyped-def]
    """`definitions.of(f"{FUNNEL}.revenue")`, with the constants of the page."""
    tree = ast.parse(page.read_text())
    constants: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            targets = node.targets[0].elts if isinstance(node.targets[0], ast.Tuple) else node.targets
            values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
            for target, value in zip(targets, values, strict=False):
                if isinstance(target, ast.Name) and isinstance(value, ast.Constant) and isinstance(value.value, str):
                    constants[target.id] = value.value
    asked = re.findall(r'definitions\.of\(f"\{(\w+)\}\.(\w+)"\)', page.read_text())
    known = definitions.models()
    missing = [
        f"{constants[table]}.{name}"
        for table, name in asked
        if constants[table] in known and definitions.of(f"{constants[table]}.{name}") is None
    ]
    assert missing == []
