"""Our own rule for `sqlmesh lint`: two tables that a range links are linked by an equality too."""

from collections.abc import Iterator

from sqlglot import exp
from sqlmesh.core.linter.rule import Rule, RuleViolation
from sqlmesh.core.model import Model, SqlModel

SMALL = {
    ("marts.mart_destination_demand", "names", "texts"): "at most a few hundred names of destinations",
    ("marts.mart_destination_demand", "asked_by_text", "places"): "at most a few hundred places",
    ("marts.mart_position_clicks", "clicked", "shown"): "places on pages of results: a few hundred on each side",
    ("marts.mart_position_corrected_clicks", "curve", "pages"): "places on pages of results: a few hundred",
    ("marts.mart_recommendation_quality", "seen", "weeks"): "one to four weeks",
}
"""A model and two tables that it joins by a range: one side stays small, and why it does."""
RANGES = (exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Between)
EQUALITIES = (exp.EQ, exp.NullSafeEQ)


class NoRangeJoin(Rule):
    """A range without an equality between the same two tables lets DuckDB join every row of one with every row of the
    other, when it believes that one of them has few rows. It then needs minutes for what takes seconds, and fills the disk."""

    def check_model(self, model: Model) -> RuleViolation | None:
        """Look at each SELECT as it is written: a third table that has equalities with both does not help."""
        if not isinstance(model, SqlModel):
            return None
        pairs = (pair for select in model.query.find_all(exp.Select) for pair in range_joins(select))
        found = next((pair for pair in pairs if (model.name, *pair) not in SMALL), None)
        if found is None:
            return None
        return self.violation(
            f"{' and '.join(found)} are joined by a range alone. Add an equality between the two, for example by carrying "
            "the column through the table between them; a join with a small side is declared in linter/joins.py."
        )


def range_joins(select: exp.Select) -> Iterator[tuple[str, ...]]:
    """Yield the pairs of tables that a range links and no equality does."""
    joins = select.args.get("joins") or []
    where = select.args.get("where")
    conditions = [join.args["on"] for join in joins if join.args.get("on")]
    conditions += [where.this] if where is not None and joins else []
    linked: set[frozenset[str]] = set()
    ranges: list[frozenset[str]] = []
    for condition in conditions:
        for part in condition.flatten() if isinstance(condition, exp.And) else (condition,):
            tables = frozenset(column.table for column in part.find_all(exp.Column) if column.table)
            if len(tables) == 2 and isinstance(part, EQUALITIES):
                linked.add(tables)
            elif len(tables) == 2 and isinstance(part, RANGES):
                ranges.append(tables)
    yield from (tuple(sorted(tables)) for tables in ranges if tables not in linked)
