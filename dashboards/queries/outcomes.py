"""Queries about what acting on the data changed: users who got a message beside users held out, and how good
recommendations were."""

from __future__ import annotations

from typing import Any

from dashboards.source import Reading


def lift(reading: Reading) -> list[dict[str, Any]]:
    """Return one row for each sync with a holdout, the newest experiment first."""
    return reading.rows(
        """
        SELECT sync, first_assigned_at, pending_users, treated_users, held_out_users, treated_conversion_rate,
               held_out_conversion_rate, conversion_rate_lift, conversion_rate_lift_low, conversion_rate_lift_high,
               revenue_per_user_lift, is_conclusive
        FROM marts.mart_sync_lift ORDER BY first_assigned_at DESC NULLS LAST, sync
        """
    )


def recommendation_quality(reading: Reading) -> list[dict[str, Any]]:
    """Return recall and NDCG of each held-out week, for our own lists beside the list that is the same for every user.
    Return recall and NDCG of each held-out week, for our own lists beside the list that is the same for every user."""
    return reading.rows(
        """
        SELECT held_out_from, held_out_until, recommender, users, recall_at_10, ndcg_at_10
        FROM marts.mart_recommendation_quality WHERE scope = 'all' ORDER BY held_out_from DESC, recommender DESC
        """
    )
