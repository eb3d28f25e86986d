"""Readers never see a day or a key missing, whichever program makes the models: SQLMesh loads this file before it works.

So `sqlmesh plan` and `sqlmesh run` in the repository root replace days in one commit of the lake, as `searchflow transform`
does. What it changes, and why, is in `searchflow/transformation/lake_adapter.py`.
"""

from searchflow.transformation import lake_adapter

lake_adapter.install()
