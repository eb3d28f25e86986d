"""The Streamlit script: runs anew at each visit and filter change, opens one snapshot, runs the chosen page in it.

What goes wrong is said in words with what to do next; no traceback reaches a browser.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import streamlit as st

from dashboards import formats, frame, source
from searchflow.errors import SearchFlowError

PAGES = {
    "Business": [
        st.Page("pages/overview.py", title="Executive overview", default=True),
        st.Page("pages/funnel.py", title="Search funnel"),
        st.Page("pages/attribution.py", title="Marketing attribution"),
        st.Page("pages/segments.py", title="User segments"),
    ],
    "Platform": [st.Page("pages/operations.py", title="Operations")],
}

WORDMARK = Path(__file__).with_name("wordmark.svg")


def main() -> None:
    """Draw the page that was asked for."""
    page = st.navigation(PAGES)
    st.logo(str(WORDMARK), size="large")
    # An emoji; and no :material: icon on a page above: it would become its tab's icon, fetched from outside.
    st.set_page_config(page_title=f"{page.title} · SearchFlow", page_icon="🧭", layout="wide")
    try:
        with st.spinner("Reading the marts …"), source.reading() as reading:
            token = frame.visit.set(frame.Visit(reading, datetime.now(UTC)))
            try:
                page.run()
            finally:
                frame.visit.reset(token)
    except source.NotBuiltError as error:
        st.info(
            f"There is nothing to show yet: {formats.plain(formats.listed(error.missing))} "
            f"{'has' if len(error.missing) == 1 else 'have'} not been built. "
            "Run `searchflow demo` for a first look, or `searchflow ingest` and then `searchflow transform` "
            "for your own data."
        )
    except SearchFlowError as error:
        st.error(f"The platform does not answer. {formats.plain(error, limit=400)}")
        st.markdown("If it is not running, start it with `searchflow up`; then reload this page.")
    except duckdb.Error:
        logging.getLogger(__name__).exception("a query of the dashboards failed")
        st.error(
            "The warehouse could not answer this page. Reload it; if that does not help, run `searchflow status` and "
            "read the log of the dashboards."
        )


main()
