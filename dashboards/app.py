"""The Streamlit script: runs anew at each visit and filter change, opens one snapshot, runs the chosen page in it.

What goes wrong is said in words with what to do next; no traceback reaches a browser.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime

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

WORDMARK = """<svg xmlns="http://www.w3.org/2000/svg" width="150" height="32" viewBox="0 0 150 32" role="img" aria-label="SearchFlow">
<g fill="#2A6FBB"><rect y="6" width="22" height="4.4" rx="2.2"/><rect x="3" y="13.8" width="16" height="4.4" rx="2.2" opacity=".75"/>
<rect x="6.5" y="21.6" width="9" height="4.4" rx="2.2" opacity=".5"/></g>
<text x="31" y="22.5" font-family="Source Sans Pro,Source Sans 3,Helvetica,Arial,sans-serif" font-size="19" font-weight="600" fill="#4F8FD0">SearchFlow</text>
</svg>"""
"""A funnel and the name, in blues that are legible on light and on dark."""


def main() -> None:
    """Draw the page that was asked for."""
    page = st.navigation(PAGES)
    st.logo(WORDMARK, size="large")
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
            "Run `searchflow demo` for a first look, or `searchflow ingest` and then `searchflow transform` for your own data."
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
