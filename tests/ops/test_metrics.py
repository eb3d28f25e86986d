"""/metrics says what the ops tables say, counts each commit once, and has what the Grafana dashboard asks for."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families

from searchflow.ops import metrics
from searchflow.settings import ROOT, Settings

pytestmark = pytest.mark.integration
NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)


def ago(minutes: float) -> datetime:
    return (NOW - timedelta(minutes=minutes)).replace(tzinfo=None)


class Scraper:
    """One process that is scraped, with a clock of its own."""

    def __init__(self, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(metrics, "KEPT_SECONDS", -1.0)
        self.now = NOW
        self._metrics = metrics.Metrics(lambda: metrics.opened(settings), clock=lambda: self.now)

    def scrape(self) -> dict[str, dict[str, float]]:
        """Sample name -> labels -> value."""
        found: dict[str, dict[str, float]] = {}
        for family in text_string_to_metric_families(self._metrics.text().decode()):
            for sample in family.samples:
                found.setdefault(sample.name, {})[" ".join(sample.labels.values())] = sample.value
        return found


def commit(minutes: float, received: int, **more: object) -> dict[str, object]:
    known = {"batch_id": str(minutes), "shard": "search", "event_type": "search", "committed_at": ago(minutes)}
    return {**known, "received": received, "stored": received, "duplicates": 0, "dead_letters": 0, "late": 0, **more}


def test_counters_count_each_commit_once_however_often_they_are_scraped(
    watched: Settings, written: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    scraper = Scraper(watched, monkeypatch)
    written("ingestion_batches", commit(600, 1000), commit(16, 100), commit(14, 10), commit(1, 1))
    written("ingestion_batches", commit(1, 500, shard="replay"))  # received before, and counted then
    assert scraper.scrape()["searchflow_events_received_total"] == {"search": 1111}
    assert scraper.scrape()["searchflow_events_received_total"] == {"search": 1111}
    written("ingestion_batches", commit(0.5, 7), commit(0.4, 3, event_type="click", shard="click"))
    scraper.now = NOW + timedelta(minutes=30)
    assert scraper.scrape()["searchflow_events_received_total"] == {"search": 1118, "click": 3}
    assert scraper.scrape()["searchflow_events_received_total"] == {"search": 1118, "click": 3}


def test_everything_the_grafana_dashboard_and_the_alerts_ask_for_is_there(
    watched: Settings, written: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(written)
    found = Scraper(watched, monkeypatch).scrape()
    dashboard = json.loads((ROOT / "deploy" / "grafana" / "searchflow.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    assert len(queries) > 15
    queries.append((ROOT / "deploy" / "grafana" / "alerts.yml").read_text())
    asked = set(re.findall(r"\bsearchflow_\w+", " ".join(queries)))
    assert asked - set(found) == set()
    assert {name for name in found if not name.endswith("_created")} - asked <= {
        "searchflow_model_covered_until_timestamp_seconds",
        "searchflow_run_last_rows",
        "searchflow_run_last_timestamp_seconds",
        "searchflow_service_level_limit",
        "searchflow_service_level_since_timestamp_seconds",
        "searchflow_service_level_value",
    }
    assert found["searchflow_sync_latency_seconds"] == {"crm": 900.0}
    assert found["searchflow_run_duration_seconds"]["stage ingestion"] == 4.0
    assert found["searchflow_checks"] == {"pass marts.dim_users": 1.0, "warn marts.dim_users": 1.0}
    assert found["searchflow_service_level_kept"] == {"fresh marts.dim_users": 0.0}


def fill(written: Callable[..., None]) -> None:
    """A little of everything."""
    written("ingestion_batches", commit(20, 10, last_event_ts=ago(20)))
    written("ingestion_metrics", {"measured_at": ago(1), "source": "searchflow:events:search", "backlog": 3,
                                  "lag_seconds": 1.5})  # fmt: skip
    written("transformed_batches", {"environment": "prod", "batch_id": "20", "seen_at": ago(15)})
    written("model_runs", {"model": "activation.x", "environment": "prod", "started_at": ago(15), "duration_s": 60.0,
                           "status": "succeeded", "audits_failed": 0, "interval_end": ago(0)})  # fmt: skip
    written("sync_runs", {"sync": "crm", "model": "activation.x", "run_id": "1", "started_at": ago(6),
                          "finished_at": ago(5), "status": "done", "mode": "run", "added": 2})  # fmt: skip
    written("stage_runs", {"stage": "ingestion", "started_at": ago(9), "duration_s": 4.0, "status": "completed"})
    check = {"suite": "marts.dim_users", "run_id": "1", "checked_at": ago(3)}
    written("validation_results", {**check, "outcome": "pass", "success": True}, {**check, "outcome": "warn"})
    written("validated_tables", {**check, "rows_in": 5, "rows_quarantined": 0, "duration_s": 1.0})
    written("service_levels", {"level": "fresh", "target": "marts.dim_users", "state": "broken", "value": 9.0,
                               "limit_value": 5.0, "checked_at": ago(1), "since": ago(1)})  # fmt: skip
