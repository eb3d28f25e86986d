#!/usr/bin/env bash
# msgspec 0.22.0, Polars 2.1.0 and DuckDB 1.5.5: one JSON document with a repeated key has three readings.
#
# Expected: RFC 8259 calls repeated keys unpredictable, but within one platform all readers would take the last value, as
#   the json module of Python does; and DuckDB would agree with itself.
# Seen, for {"value": 1, "value": 2}: json and msgspec say 2; Polars says 1; `->>` in DuckDB says 1, and read_json in
#   the same DuckDB refuses the document: "Object ... has duplicate key".
# Why it matters here: msgspec checks an event and DuckDB models it. The checked value and the modelled value were
#   different ones, so a negative amount could pass the check and stop the models.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check duckdb==1.5.5 polars==2.1.0 msgspec==0.22.0
cd "$work"
cat > check.py <<'PYTHON'
import json
from pathlib import Path

import duckdb
import msgspec
import polars

document = b"""{"value": 1, "value": 2}\n"""
Path("event.jsonl").write_bytes(document)


class Event(msgspec.Struct):
    value: int


readings = {
    "json": json.loads(document)["value"],
    "msgspec": msgspec.json.decode(document, type=Event).value,
    "Polars": polars.read_ndjson(document)["value"][0],
    "DuckDB ->>": int(duckdb.execute("SELECT ?::JSON ->> '$.value'", [document.decode()]).fetchone()[0]),
}
print(readings)
assert readings == {"json": 2, "msgspec": 2, "Polars": 1, "DuckDB ->>": 1}, readings
try:
    duckdb.sql("SELECT value FROM read_json('event.jsonl')").fetchall()
except duckdb.InvalidInputException as error:
    print("DuckDB read_json:", str(error).splitlines()[0])
else:
    raise SystemExit("read_json accepts the repeated key now")
PYTHON
"$work/venv/bin/python" check.py
