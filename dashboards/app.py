"""The application: it runs again at each visit and filter change, opens one snapshot, and runs the chosen page in it.

What goes wrong is said in words with what to do next; no traceback reaches a browser.
"""

from __future__ import annotations

import logging
from pathlib import Path

import duckdb
import streamlit as st

from dashboards import formats, frame, login, source
from searchflow.clock import utc_now
from searchflow.errors import SearchFlowError

PAGES = {
    "Business": {
        "overview": "Executive overview",
        "funnel": "Search funnel",
        "attribution": "Marketing attribution",
        "segments": "User segments",
    },
    "Platform": {"operations": "Operations", "catalog": "Catalog"},
}
"""Section -> file in `pages/`, which is also the page's address -> title. The first is the front page."""
HERE = Path(__file__).parent
WORDMARK = HERE / "wordmark.svg"
LOOKS = HERE / "page.css"


def main() -> None:
    """Draw the page that was asked for."""
    page = st.navigation(_pages())
    st.logo(str(WORDMARK), size="large")
    # An emoji; a :material: icon here or on a page would be fetched from outside.
    st.set_page_config(page_title=f"{page.title} · SearchFlow", page_icon="🧭", layout="wide")
    st.html(LOOKS)
    if not login.passed(source.current_settings()):
        return
    try:
        with st.spinner("Reading the marts …"), source.reading() as reading:
            token = frame.visit.set(frame.Visit(reading, utc_now()))
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


def _pages() -> dict[str, list[st.Page]]:
    first = next(iter(PAGES["Business"]))
    return {
        section: [
            st.Page(HERE / "pages" / f"{name}.py", title=title, default=name == first) for name, title in names.items()
        ]
        for section, names in PAGES.items()
    }
