"""Failures, reported so that a person can act: the model, the audit, and the first rows that break it.

Rows and messages end up in logs, artifacts and `ops.model_runs`, so what is personal in them is masked first.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import duckdb

from searchflow.errors import TransformationFailed, engine_reason

if TYPE_CHECKING:
    from sqlmesh.utils.errors import AuditError

    from searchflow.transformation.project import Project
    from searchflow.transformation.result import ModelRun, TransformationResult

CORRECT = "Correct the data or the model, then run `searchflow transform` again."
NOT_PROMOTED = "Production goes on as it was. Correct the model, then run `searchflow deploy` again."
ENGINE_BROKE = (
    "That is a fault of DuckDB's, not of the data: run `searchflow transform` again, which begins with a new one. If it comes "
    "again, write the model's query another way."
)
SAMPLE_ROWS = 10
MASK = "•••"
ADDRESS = re.compile(r"\S+@\S+")
"""A pattern of e-mail addresses: an engine's message may quote the value that it could not convert."""


class ModelsFailed(TransformationFailed):
    """Models or their blocking audits failed. `result` tells what each model did, and `rows` are the first bad rows by
    audit.
    """

    def __init__(self, message: str, result: TransformationResult, rows: dict[str, list[dict[str, object]]]) -> None:
        self.result, self.rows = result, rows
        super().__init__(message)


def examine(opened: Project, run: ModelRun, cause: BaseException) -> None:
    """Write into `run` why it failed: a sentence, and the rows that break its audits."""
    from sqlmesh.utils.errors import NodeAuditsErrors

    if not isinstance(cause, NodeAuditsErrors):
        run.error = f"failed: {_reason(cause)}"
        return
    personal = _personal_names(opened)
    sentences = []
    for audit in cause.errors:
        run.broken[audit.audit_name] = sample = _offending_rows(opened, audit, personal)
        first = f", for example {_short(sample[0])}" if sample else ""
        sentences.append(f"breaks audit {audit.audit_name} in {audit.count} rows{first}")
    run.error = "; ".join(sentences)


def explain(
    opened: Project, result: TransformationResult, problem: Exception | None, *, promoting: bool = False
) -> ModelsFailed:
    """Return the error to raise, with every failure in a sentence. With `promoting`, these models were to become
    production.
    """
    runs = opened.console.runs
    causes = {name: _raised(cause) for name, cause in opened.console.failures.items()}
    engine_broke = any(isinstance(cause, duckdb.InternalException) for cause in causes.values())
    waiting = sum(1 for run in result.models if run.status == "skipped")
    sentences = []
    for name, cause in causes.items():
        if engine_broke and isinstance(
            cause, duckdb.FatalException
        ):  # it found the engine broken, which is not its own fault
            waiting += 1
        elif name in runs:
            sentences.append(f"{runs[name].name} {runs[name].error}")
        else:  # before the run of models had begun
            sentences.append(f"{name} failed: {_reason(cause)}")
    if not sentences:
        sentences.append(_reason(problem) if problem else "a model failed")
    behind = f" {waiting} models {'beside and ' if engine_broke else ''}behind were not made." if waiting else ""
    advice = ENGINE_BROKE if engine_broke else NOT_PROMOTED if promoting else CORRECT
    return ModelsFailed(
        f"{'; '.join(sentences)}.{behind} {advice}",
        result,
        {f"{run.name}.{audit}": rows for run in result.failed for audit, rows in run.broken.items()},
    )


def _raised(cause: BaseException) -> BaseException:
    """Return what a Python model raised. SQLMesh tells of it by an error of its own."""
    from sqlmesh.utils.errors import PythonModelEvalError

    return cause.__context__ or cause if isinstance(cause, PythonModelEvalError) else cause


def _reason(cause: BaseException) -> str:
    raised = _raised(cause)
    python = raised is not cause and not isinstance(raised, duckdb.Error)
    return ADDRESS.sub(MASK, f"{type(raised).__name__}: {engine_reason(raised)}" if python else engine_reason(raised))


def _personal_names(opened: Project) -> set[str]:
    """Return names of columns that are personal somewhere: an audit's SELECT may take them from any table."""
    from searchflow.transformation.lineage import trees
    from searchflow.transformation.marks import marked

    return {column for columns in marked(trees(opened.context)).values() for column in columns}


def _offending_rows(opened: Project, audit: AuditError, personal: set[str]) -> list[dict[str, object]]:
    try:
        frame = opened.context.engine_adapter.fetchdf(audit.query.limit(SAMPLE_ROWS))
    except Exception:  # the rows are a courtesy; the audit's failure must not hide behind their query's
        return []
    rows = [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]
    return [{key: MASK if key in personal else value for key, value in row.items()} for row in rows]


def _short(row: dict[str, object]) -> str:
    text = ", ".join(f"{key}={value}" for key, value in list(row.items())[:4])
    return text if len(text) <= 200 else text[:200] + "…"
