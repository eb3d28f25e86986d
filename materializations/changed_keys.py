"""The materialization `changed_keys`: a model that is made as a whole, of which a run writes only what changed.

The query compares what rows should be made from with what they were made from (it reads the model's own table), and gives
all rows of every key that differs. They take the place of the key's rows, at once. A key that should have no rows any more
comes as one row that fulfils the condition `gone`, and is not kept.

    kind CUSTOM (
      materialization 'changed_keys',
      materialization_properties (key = user_id, gone = 'segment IS NULL')
    )

Whatever state the table is in, killed half-way, rows deleted, made by an older run, the next run finds what differs. SQLMesh's
INCREMENTAL_BY_UNIQUE_KEY would keep one row per key, and none of its kinds deletes a key.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlglot import exp, parse_one
from sqlmesh import CustomMaterialization, Model
from sqlmesh.core.engine_adapter import DuckDBEngineAdapter

from searchflow.transformation import lake_adapter


class ChangedKeys(CustomMaterialization):
    """The materialization `changed_keys`: a run writes only the keys whose rows changed."""

    NAME = "changed_keys"

    def insert(
        self,
        table_name: str,
        query_or_df: Any,
        model: Model,
        is_first_insert: bool,
        render_kwargs: dict[str, Any],
        **kwargs: Any,
    ) -> None:
        """Replace the rows of the keys in `query_or_df`; at the first insert, or when all is restated, every row."""
        properties = model.kind.materialization_properties
        key, gone = exp.column(str(properties["key"])), parse_one(str(properties["gone"]), dialect=model.dialect)
        columns = model.columns_to_types_or_raise
        with lake_adapter.at_once(self.adapter):
            if is_first_insert:
                self.adapter.delete_from(table_name, exp.true())  # the query reads the table: with no rows, all differ
            with self._made(table_name, query_or_df, columns) as made:
                self.adapter.delete_from(table_name, key.isin(query=exp.select(key.copy()).from_(made)))
                kept = exp.select(*columns).from_(made).where(exp.not_(exp.paren(gone)))
                self.adapter.insert_append(table_name, kept, target_columns_to_types=columns)

    @contextmanager
    def _made(self, table_name: str, query: Any, columns: dict[str, exp.DataType]) -> Iterator[exp.Table]:
        """Yield the query's rows, beside the table that the query reads."""
        if not isinstance(self.adapter, DuckDBEngineAdapter):
            with self.adapter.temp_table(query, name=table_name, target_columns_to_types=columns) as made:
                yield made
            return
        made = exp.to_table("temp.main.changed_keys")  # in memory: SQLMesh's would be a commit of the lake
        temporary = exp.Properties(expressions=[exp.TemporaryProperty()])
        self.adapter.execute(exp.Create(this=made, kind="TABLE", replace=True, properties=temporary, expression=query))
        yield made
        self.adapter.drop_table(made)  # after an error the next run replaces it
