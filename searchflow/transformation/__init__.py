"""Transformation: plans and runs the SQLMesh models, and tells what each did.

    from searchflow.transformation import transform
    result = transform(settings, now=now)

The scheduler is SQLMesh's own. SearchFlow adds the warm project, the console that listens, and the choice of days that
are rebuilt. SQLMesh takes seconds to import, so this package imports it only when something is run. The package knows
nothing outside `searchflow`.
"""

from searchflow.transformation.failures import ModelsFailed
from searchflow.transformation.graph import Graph, graph, tree
from searchflow.transformation.lineage import Node, model_names
from searchflow.transformation.result import ModelProgress, ModelRun, TransformationResult
from searchflow.transformation.runner import is_behind, transform
from searchflow.transformation.tables import table_rows

__all__ = [
    "Graph",
    "ModelProgress",
    "ModelRun",
    "ModelsFailed",
    "Node",
    "TransformationResult",
    "graph",
    "is_behind",
    "model_names",
    "table_rows",
    "transform",
    "tree",
]
