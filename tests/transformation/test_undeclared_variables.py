"""The linter refuses a variable that a model reads and `config.yaml` does not declare."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from searchflow.transformation.project import quiet

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:sqlmesh.*", "ignore::DeprecationWarning:sqlglot.*")

DECLARED = {"funnel_window_days": 30}


def said(query: str, python: str = "") -> str:
    """What the rule says of a model, and of a Python function that it calls."""
    with quiet():
        from sqlmesh.core.dialect import parse
        from sqlmesh.core.model import load_sql_based_model
        from sqlmesh.utils.metaprogramming import Executable

        from linter.variables import NoUndeclaredVariable
    model = load_sql_based_model(parse(f"MODEL (name s.m, dialect duckdb); {query}"), variables=DECLARED)
    if python:
        model.python_env["called"] = Executable(payload=python, name="called")
    context = SimpleNamespace(config=SimpleNamespace(variables=DECLARED))
    found = NoUndeclaredVariable(context).check_model(model)  # type: ignore[arg-type]
    return "" if found is None else found.violation_msg or ""


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("SELECT @funnel_window_days AS n", ""),
        ("SELECT @VAR('funnel_window_days') AS n", ""),
        ("SELECT @VAR('FUNNEL_WINDOW_DAYS', 1) AS n", ""),
        ("SELECT @VAR('funnel_windw_days', 30) AS n", "funnel_windw_days is read and not declared"),
        ("SELECT 1 AS n WHERE 1 < (SELECT @var('grace_days', 2) + @VAR('gap', 1))", "gap, grace_days are read"),
        ("SET x = @VAR('before', 1); SELECT 1 AS n", "before is read"),
    ],
)
def test_in_sql(query: str, named: str) -> None:
    assert said(query).startswith(named)
    assert bool(said(query)) == bool(named)


def test_in_a_macro_or_a_python_model() -> None:
    declared = "def called(evaluator):\n    return evaluator.var('funnel_window_days')"
    assert said("SELECT 1 AS n", declared) == ""
    undeclared = "def called(context, **_):\n    return context.var('grace_days', 2)"
    assert "grace_days is read and not declared" in said("SELECT 1 AS n", undeclared)
    assert "config.yaml" in said("SELECT 1 AS n", undeclared)
