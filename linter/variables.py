"""Our own rule for `sqlmesh lint`: a variable that a model reads is declared and explained in `config.yaml`."""

from collections.abc import Iterator

from sqlglot import exp
from sqlmesh.core.dialect import MacroFunc
from sqlmesh.core.linter.rule import Rule, RuleViolation
from sqlmesh.core.model import Model, SqlModel
from sqlmesh.core.model.common import parse_dependencies


class NoUndeclaredVariable(Rule):
    """A variable that is not declared is read as null or as a default, and no one can tell its value from
    `config.yaml`."""

    def check_model(self, model: Model) -> RuleViolation | None:
        """Look at `@VAR('name')` in SQL, and at `var('name')` in the macros and Python models."""
        declared = {name.lower() for name in self.context.config.variables}
        missing = sorted({*_in_sql(model), *_in_python(model)} - declared)
        if not missing:
            return None
        return self.violation(
            f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} read and not declared. Add it to `variables` of "
            "config.yaml, with a comment on what it is."
        )


def _in_sql(model: Model) -> Iterator[str]:
    """Yield the names in `@VAR(...)`. SQLMesh itself refuses an undeclared `@name`."""
    if not isinstance(model, SqlModel):
        return
    for statement in (*model.pre_statements, model.query, *model.post_statements):
        for call in statement.find_all(MacroFunc):
            inner = call.this
            if isinstance(inner, exp.Anonymous) and inner.name.lower() == "var" and inner.expressions:
                yield inner.expressions[0].name.lower()


def _in_python(model: Model) -> Iterator[str]:
    """Yield the names in `evaluator.var(...)` and `context.var(...)` of everything that the model calls."""
    _, read = parse_dependencies(model.python_env, None, strict_resolution=False)
    yield from (name.lower() for name in read)
