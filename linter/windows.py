"""Our own rule for `sqlmesh lint`, besides those that SQLMesh brings. It is on in `config.yaml`."""

from sqlglot import exp
from sqlmesh.core.linter.rule import Rule, RuleViolation
from sqlmesh.core.model import Model, SqlModel


class NoEmptyWindow(Rule):
    """A window over all rows in no order, `OVER ()`, may end DuckDB 1.5 with an INTERNAL error."""

    def check_model(self, model: Model) -> RuleViolation | None:
        """Look at SQL as it is written; `tests/transformation/test_empty_windows.py` reads macros and Python models as
        text."""
        if not isinstance(model, SqlModel) or not any(map(_is_empty, model.query.find_all(exp.Window))):
            return None
        return self.violation(
            "OVER () may end DuckDB with an INTERNAL error. Give the window a PARTITION BY or an ORDER BY, or take the "
            "total from a subquery (docs/decisions/0021-no-empty-window.md)."
        )


def _is_empty(window: exp.Window) -> bool:
    named = window.args.get("alias")  # OVER name: the definition is looked at by itself
    return not (named or window.args.get("partition_by") or window.args.get("order"))
