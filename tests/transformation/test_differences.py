"""What changed in the marts between two snapshots: made by days or as a whole, rows written again are no change."""

from __future__ import annotations

from datetime import date

import pytest

from searchflow import warehouse
from searchflow.settings import Settings
from searchflow.transformation import differences
from searchflow.transformation.differences import MartChange

pytestmark = pytest.mark.integration

DAILY = """
    SELECT DATE '2026-05-01' + i::INTEGER AS kpi_date, {searches} AS searches, 0 AS clicks, 0 AS conversions,
           1.50 AS revenue, {previous} AS searches_previous_day
    FROM range(3) AS days(i)
"""


def test_rows_that_differ_are_counted_and_days_of_the_key_figures_shown(fresh_platform: Settings) -> None:
    with warehouse.connect(fresh_platform) as lake:
        lake.execute("CREATE SCHEMA sqlmesh__marts; CREATE SCHEMA marts")
        lake.execute(f"CREATE TABLE sqlmesh__marts.daily__1 AS {DAILY.format(searches='5', previous='4')}")
        lake.execute("CREATE TABLE sqlmesh__marts.funnel__2 AS SELECT i, i AS v FROM range(1000) AS rows(i)")
        lake.execute("CREATE VIEW marts.mart_kpi_daily AS SELECT * FROM lake.sqlmesh__marts.daily__1")
        lake.execute('CREATE VIEW marts.funnel AS SELECT * FROM "lake"."sqlmesh__marts"."funnel__2"')
        before = differences.marts(lake)
        assert differences.since(lake, before, []) == differences.Changes()

        # By days: 400 rows written again, one of them with another value, and one more.
        with warehouse.transaction(lake):
            lake.execute("DELETE FROM sqlmesh__marts.funnel__2 WHERE i < 400")
            lake.execute(
                "INSERT INTO sqlmesh__marts.funnel__2 SELECT i, if(i = 7, 70, i) FROM range(400) AS rows(i) "
                "UNION ALL SELECT 5000, 1"
            )
        assert differences.since(lake, before, []).marts == [MartChange("marts.funnel", 1, 2)]

        # As a whole: one day's own figure, and what the next day is compared with.
        changed = DAILY.format(searches="if(i = 1, 6, 5)", previous="if(i = 2, 6, 4)")
        lake.execute(f"CREATE OR REPLACE TABLE sqlmesh__marts.daily__1 AS {changed}")
        lake.execute("INSERT INTO ops.transformed_batches VALUES ('prod', 'x', 'replay', now()::TIMESTAMP)")
        lake.execute("INSERT INTO ops.transformed_batches VALUES ('prod', 'y', 'search', now()::TIMESTAMP)")
        found = differences.since(lake, before, ["x"])
        assert MartChange("marts.mart_kpi_daily", 2, 2) in found.marts
        [day] = found.days
        assert (day.day, day.shown("searches"), day.shown("clicks")) == (date(2026, 5, 2), "5 -> 6", "0")
        assert found.other_batches == 1

        # Another definition is another table.
        lake.execute("CREATE OR REPLACE VIEW marts.funnel AS SELECT * FROM lake.sqlmesh__marts.daily__1")
        assert differences.since(lake, before, []).not_compared == ["marts.funnel"]
