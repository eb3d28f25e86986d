"""What failed, said so that a person can act: the model, the audit, and the first rows that break it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from searchflow.errors import TransformationFailed

if TYPE_CHECKING:
    from sqlmesh.utils.errors import AuditError

    from searchflow.transformation.project import Project
    from searchflow.transformation.result import TransformationResult

SAMPLE_ROWS = 3


class ModelsFailed(TransformationFailed):
    """Models or their blocking audits failed. `result`: what each model did; `rows`: the first bad rows by audit."""

    def __init__(self, message: str, result: TransformationResult, rows: dict[str, list[dict[str, object]]]) -> None:
        self.result, self.rows = result, rows
        super().__init__(message)


def explain(opened: Project, result: TransformationResult, problem: Exception | None) -> ModelsFailed:
    """The error to raise. The first failure is spelt out; the others are named."""
    from sqlmesh.utils.errors import NodeAuditsErrors

    sentences: list[str] = []
    rows: dict[str, list[dict[str, object]]] = {}
    for name, cause in opened.console.failures.items():
        model = opened.console.runs[name].name if name in opened.console.runs else name
        if isinstance(cause, NodeAuditsErrors):
            for audit in cause.errors:
                rows[f"{model}.{audit.audit_name}"] = sample = _offending_rows(opened, audit)
                first = f", for example {_short(sample[0])}" if sample else ""
                sentences.append(f"{model} breaks audit {audit.audit_name} in {audit.count} rows{first}")
        else:
            sentences.append(f"{model} failed: {str(cause).strip().splitlines()[0]}")
    if not sentences:
        sentences.append(str(problem).strip().splitlines()[0] if problem else "a model failed")
    skipped = sum(1 for run in result.models if run.status == "skipped")
    waiting = f" {skipped} models below were not made." if skipped else ""
    return ModelsFailed(
        f"{'; '.join(sentences)}.{waiting} Correct the data or the model, then run `searchflow transform` again.",
        result,
        rows,
    )


def _offending_rows(opened: Project, audit: AuditError) -> list[dict[str, object]]:
    try:
        frame = opened.context.engine_adapter.fetchdf(audit.query.limit(SAMPLE_ROWS))
    except Exception:  # the rows are a courtesy; the audit's failure must not hide behind their query's
        return []
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]


def _short(row: dict[str, object]) -> str:
    text = ", ".join(f"{key}={value}" for key, value in list(row.items())[:4])
    return text if len(text) <= 200 else text[:200] + "…"
