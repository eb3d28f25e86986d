"""Section on the audit log: who or what read or changed which table."""

from __future__ import annotations

import streamlit as st

from dashboards.frame import PlatformPage, column, moments, numbers, tile
from dashboards.queries import operations


def draw(page: PlatformPage) -> None:
    """Draw the newest entries; the reads of these pages themselves are shown only when asked for."""
    ours = st.toggle("With what these dashboards read themselves", key="own-reads", bind="query-params")
    with tile(
        page,
        "Audit log",
        key="audit",
        about="Who or what read or changed which table: the newest 100 entries. `searchflow audit show` filters them, "
        "`searchflow audit verify` proves that no one edited one.",
    ) as drawn:
        drawn.table(
            operations.audit_entries(own_reads=ours),
            {
                "logged_at": moments("At (UTC)"),
                "actor": column("Who"),
                "process": column("By what"),
                "action": column("Did"),
                "object": column("To what", width="medium"),
                "rows": numbers("Rows"),
                "detail": column("Detail", width="large"),
            },
            alt="Newest entries of the audit log",
            height=520,
        )
