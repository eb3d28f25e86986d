#!/usr/bin/env bash
# DuckDB 1.5.5: `max_temp_directory_size` in the configuration of `duckdb.connect` is shown and not kept to; SET is kept to.
#
# Expected: a setting that `current_setting` shows is in force, whichever way it was given.
# Seen: with config={"max_temp_directory_size": "1 MiB"} the setting reads 1.0 MiB, and a table that does not fit into memory
#   puts more than 100 MiB into the temporary directory. The same limit by SET on the open connection stops the same
#   statement with an OutOfMemoryException that names the setting.
# Why it matters here: the limit is there so that a query which grows out of hand never takes the disk from PostgreSQL, which
#   ends when it cannot write. A limit that one reads back and that does nothing is found on the day of the full disk.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check duckdb==1.5.5
cd "$work"
cat > check.py <<'PYTHON'
import duckdb

TABLE = "CREATE TEMP TABLE wide AS SELECT md5(i::TEXT) || md5((i + 1)::TEXT) AS text FROM range(4000000) AS r(i)"
LIMIT = {"max_temp_directory_size": "1 MiB"}


def spilled(name: str, at_open: bool) -> int | str:
    config = {"memory_limit": "60MB", "temp_directory": name} | (LIMIT if at_open else {})
    with duckdb.connect(config=config) as engine:
        if not at_open:
            engine.execute("SET max_temp_directory_size = '1 MiB'")
        assert engine.execute("SELECT current_setting('max_temp_directory_size')").fetchall() == [("1.0 MiB",)]
        try:
            engine.execute(TABLE)
        except duckdb.OutOfMemoryException as error:
            assert "max_temp_directory_size" in str(error)
            return "stopped"
        return sum(size for _, size in engine.execute("FROM duckdb_temporary_files()").fetchall())


at_open, by_set = spilled("one", True), spilled("two", False)
print("in the configuration:", at_open, "bytes in the temporary directory, with a limit of 1 MiB")
print("by SET:", by_set)
assert isinstance(at_open, int) and at_open > 100 * 2**20, at_open
assert by_set == "stopped", by_set
PYTHON
"$work/venv/bin/python" check.py
