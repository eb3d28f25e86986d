#!/usr/bin/env bash
# SQLMesh 0.236.4: INCREMENTAL_BY_UNIQUE_KEY keeps duplicate keys of its first load.
#
# Expected: the kind promises at most one row a key. A query that returns a key twice fails, or one row stays, as on every
#   later run, which merges by key.
# Seen: the first load inserts both rows. A later run that returns the key once replaces both, so that the table heals,
#   or not, by what comes in.
# Why it matters here: a first plan over all history is where duplicates are. Our models of this kind make their
#   rows unique themselves, and audit it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check sqlmesh==0.236.4 'duckdb==1.5.5' 'pandas<3'
cd "$work"
cat > check.py <<'PYTHON'
import logging
from pathlib import Path

from sqlmesh import Context

Path("models").mkdir()
Path("config.yaml").write_text(
    "gateways: {local: {connection: {type: duckdb, database: db.duckdb}}}\n"
    "model_defaults: {dialect: duckdb, start: 2026-01-01}\n"
)
Path("models/words.sql").write_text(
    """
    MODEL (name demo.words, kind INCREMENTAL_BY_UNIQUE_KEY (unique_key id), cron '@daily');
    SELECT id::INT AS id, word::TEXT AS word FROM source
    """
)
logging.disable(logging.CRITICAL)
context = Context(paths=".")
context.engine_adapter.execute("CREATE TABLE source AS SELECT * FROM (VALUES (1, 'a'), (1, 'b')) AS t(id, word)")
context.plan(execution_time="2026-01-05", auto_apply=True, no_prompts=True)
first = context.engine_adapter.fetchall("SELECT id, word FROM demo.words ORDER BY word")
print("first load:", first)
context.engine_adapter.execute("DELETE FROM source WHERE word = 'a'")
context.run(execution_time="2026-01-07")
later = context.engine_adapter.fetchall("SELECT id, word FROM demo.words ORDER BY word")
print("a later run:", later)
assert first == [(1, "a"), (1, "b")], first
assert later == [(1, "b")], later
PYTHON
"$work/venv/bin/python" check.py
