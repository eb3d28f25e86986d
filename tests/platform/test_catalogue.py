"""The catalogue of everything that runs: a change here is a change for people."""

from __future__ import annotations

from pathlib import Path

import yaml

from searchflow.settings import ROOT

FLOWS = {
    "activation", "delivery", "generation", "ingestion", "maintenance", "monitoring", "pipeline", "publication",
    "reconciliation", "transformation", "validation",
}  # fmt: skip
SCHEDULES = {
    "activate": None,
    "deliver": "300 s",
    "generate": None,
    "ingest": "300 s",
    "maintain": "3600 s",
    "monitor": "300 s",
    "pipeline": "0 4 * * *",
    "publish": "1800 s",
    "reconcile": "30 3 * * *",
    "sync-abandoned_search_emails": "*/15 * * * *",
    "sync-crm_user_segments": "*/30 * * * *",
    "sync-recommendations": "0 * * * *",
    "transform": "300 s",
    "validate": "900 s",
}
SYNCS = {"abandoned_search_emails", "crm_user_segments", "recommendations"}
MODELS = {
    "staging": {
        "stg_ad_spend", "stg_click_events", "stg_conversion_events", "stg_fx_rates", "stg_search_events",
        "stg_user_profiles",
    },
    "intermediate": {
        "int_arrivals_daily", "int_identity", "int_search_sessions", "int_session_days", "int_touchpoints", "int_user_days",
        "int_user_journeys",
    },
    "marts": {
        "dim_users", "fct_search_funnel", "fct_search_funnel_daily", "mart_abandoned_searches",
        "mart_attribution_markov", "mart_campaign_attribution", "mart_destination_demand", "mart_kpi_daily",
        "mart_position_clicks", "mart_position_corrected_clicks", "mart_recommendation_quality", "mart_recommendations",
        "mart_segment_transitions", "mart_sync_lift", "mart_user_segment_history", "mart_user_segments",
    },
    "activation": {"act_abandoned_search_emails", "act_crm_user_segments", "act_recommendations"},
    "ops": {"freshness", "kpi_restatements", "lateness"},
}  # fmt: skip


def test_the_flows_and_their_schedules() -> None:
    from flows.deployments import all_deployments

    deployments = all_deployments()
    assert {deployment.flow.name for deployment in deployments} == FLOWS
    assert {deployment.name: deployment.schedule_text for deployment in deployments} == SCHEDULES
    assert all(deployment.why for deployment in deployments)


def test_prefect_yaml_deploys_the_same() -> None:
    from flows.deployments import all_deployments

    deployments = all_deployments()
    document = yaml.safe_load((ROOT / "deploy" / "prefect.yaml").read_text())
    deployed = {entry["name"]: entry for entry in document["deployments"]}
    assert set(deployed) == {deployment.name for deployment in deployments}
    for deployment in deployments:
        entry = deployed[deployment.name]
        assert entry["entrypoint"] == deployment.entrypoint
        assert entry.get("parameters", {}) == deployment.parameters
        [schedule] = entry["schedules"] if entry["schedules"] else [None]
        text = None if schedule is None else schedule.get("cron") or f"{schedule['interval']} s"
        assert text == deployment.schedule_text


def test_the_syncs() -> None:
    import activations

    assert set(activations.load_syncs()) == SYNCS


def test_the_models_one_file_each() -> None:
    for schema, names in MODELS.items():
        assert {path.stem for path in (ROOT / "models" / schema).glob("*.*") if _is_model(path)} == names


def _is_model(path: Path) -> bool:
    return path.suffix in (".sql", ".py") and not path.stem.startswith("_")


def test_every_mart_and_activation_model_has_a_suite() -> None:
    from expectations import suite_names

    for schema in ("marts", "activation"):
        missing = {f"{schema}.{name}" for name in MODELS[schema]} - set(suite_names())
        assert missing == set()
