#!/usr/bin/env bash
# Great Expectations 1.24.1: severity has no part in success, and a check that crashed looks like one that failed.
#
# Expected: an expectation with severity "warning" that fails leaves the suite successful; a check that could not run (a
#   column that is not there) is told apart from data that break it.
# Seen: one failed warning makes the whole suite success=False. A warning about a missing column has success=False and
#   severity warning too; only exception_info says that nothing was checked.
# Why it matters here: a gate that trusts `success` holds a sync back for a warning, and a gate that skips warnings lets a
#   sync through whose check never ran. Ours has four outcomes (pass, warn, fail, error): expectations/outcome.py.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check great_expectations==1.24.1 'pandas<3'
cd "$work"
cat > check.py <<'PYTHON'
import great_expectations as gx
import great_expectations.expectations as gxe
import pandas as pd

context = gx.get_context(mode="ephemeral")
context.variables.progress_bars = {"globally": False}
frame = pd.DataFrame({"email": ["a@example.com", None]})
asset = context.data_sources.add_pandas("memory").add_dataframe_asset("people")
batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": frame})
found = batch.validate(
    gx.ExpectationSuite(
        "people",
        expectations=[
            gxe.ExpectColumnValuesToNotBeNull(column="email", severity="warning"),
            gxe.ExpectColumnValuesToNotBeNull(column="no_such_column", severity="warning"),
        ],
    )
)
facts = [
    (str(each.expectation_config.severity.value), each.success, "raised_exception" in str(each.exception_info) and "True" in str(each.exception_info))
    for each in found.results
]
print("suite:", found.success, "| (severity, success, raised):", facts)
assert found.success is False
assert sorted(facts) == [("warning", False, False), ("warning", False, True)], facts
PYTHON
"$work/venv/bin/python" check.py
