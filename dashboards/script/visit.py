"""The script that Streamlit runs at each visit and filter change: `dashboards.app`, and nothing of its own.

It stands alone in its folder because Streamlit takes a `pages/` beside the script for its old way of finding pages (and
then skips the script), and puts the script's folder on the import path.
"""

from dashboards.app import main

main()
