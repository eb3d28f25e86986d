/* Touchpoints, which brought a visitor: one row per session */
MODEL (
  name intermediate.int_touchpoints,
  kind VIEW,
  cron '@daily',
  allow_partials FALSE,
  grain (
    touchpoint_id
  ),
  audits (
    ASSERT_KNOWN(columns := (touchpoint_id, visitor_id, channel), time := touched_at)
  )
);

SELECT
  session_key::TEXT AS touchpoint_id, /* The touchpoint: a session is one */
  visitor_id::TEXT AS visitor_id, /* The visitor who was brought */
  session_key::TEXT AS session_key, /* The session it began */
  session_start::TIMESTAMP AS touched_at, /* When the session began, UTC */
  utm_source::TEXT AS utm_source, /* Where the visit came from */
  utm_medium::TEXT AS utm_medium, /* The kind of link that was followed */
  utm_campaign::TEXT AS utm_campaign, /* The campaign of the link */
  channel::TEXT AS channel /* The marketing channel */
FROM intermediate.int_search_sessions
