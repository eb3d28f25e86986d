"""Data Docs of the newest results as a self-contained site: no request to any other server, no tracking pixel.

Great Expectations writes pages that load a dozen files from six hosts, and a picture that reports each visit. Here the
same files come from `expectations/static/vendor`, and the pixel is a local picture.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

STATIC = Path(__file__).resolve().parent.parent / "static"
VENDORED = {
    "bootstrap-table.min.css": "bootstrap-table.min.css",
    "bootstrap-table.min.js": "bootstrap-table.min.js",
    "bootstrap-table-filter-control.css": "bootstrap-table-filter-control.min.css",
    "bootstrap-table-filter-control.min.css": "bootstrap-table-filter-control.min.css",
    "bootstrap-table-filter-control.min.js": "bootstrap-table-filter-control.min.js",
    "bootstrap.min.css": "bootstrap.min.css",
    "bootstrap.min.js": "bootstrap.min.js",
    "bootstrap-datepicker.min.css": "bootstrap-datepicker.min.css",
    "bootstrap-datepicker.min.js": "bootstrap-datepicker.min.js",
    "bootstrap-prefers-dark.css": "bootstrap-prefers-dark.min.css",
    "all.min.css": "fontawesome/css/all.min.css",
    "jquery-3.7.1.min.js": "jquery.min.js",
    "popper.min.js": "popper.min.js",
}
"""The last part of an address that Great Expectations writes -> our copy under `vendor/`."""

_SCRIPT = re.compile(r"<script[^>]*\ssrc=\"https://(?P<address>[^\"]+)\"[^>]*>\s*</script>")
_STYLE = re.compile(r"<link[^>]*\shref=\"https://(?P<address>[^\"]+)\"[^>]*>")
_PIXEL = re.compile(r"https://great-expectations-web-assets\.s3[^\"')\s]*")
_NEWSLETTER = re.compile(r"<p>Stay current on everything GX.*?</p>", re.DOTALL)
# Links out of the house, and to pages about suites, which are not built (suites are code).
_LINK_OUT = re.compile(
    r"<a\s[^>]*href=\"(?:https?://[^\"]*|[^\"]*\bexpectations/[^\"]*)\"[^>]*>(?P<text>.*?)</a>", re.DOTALL
)


def build(results: Mapping[str, Path], site: Path) -> dict[str, str]:
    """Write the site of these results (suite -> file). Return suite -> its page, relative to the site."""
    from great_expectations.core.expectation_validation_result import expectationSuiteValidationResultSchema
    from great_expectations.data_context.types.resource_identifiers import (
        ExpectationSuiteIdentifier,
        ValidationResultIdentifier,
    )

    from expectations.engine import new_context

    context = new_context(
        {
            "quality": {
                "class_name": "SiteBuilder",
                "show_how_to_buttons": False,
                "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(site)},
                "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
            }
        }
    )
    for suite, path in results.items():
        document = json.loads(path.read_text())
        run = document["meta"]["run_id"]
        key = ValidationResultIdentifier(
            expectation_suite_identifier=ExpectationSuiteIdentifier(_folder(suite)),
            run_id={"run_name": run["run_name"], "run_time": datetime.fromisoformat(run["run_time"])},
            batch_identifier=suite,
        )
        context.validation_results_store.set(key, expectationSuiteValidationResultSchema.load(document))
    context.build_data_docs()
    make_self_contained(site)
    return {
        suite: page.relative_to(site).as_posix()
        for suite in results
        for page in (site / "validations" / _folder(suite)).rglob("*.html")
    }


def _folder(suite: str) -> str:
    """Return a suite's name without dots: a dot would become one more folder, and Great Expectations would write links
    that miss by one."""
    return suite.replace(".", "-")


def make_self_contained(site: Path) -> None:
    """Copy what the pages need and rewrite every page."""
    shutil.copytree(STATIC / "vendor", site / "static" / "vendor", dirs_exist_ok=True)
    for sheet in (site / "static").glob("styles/*.css"):
        sheet.write_text(_PIXEL.sub("../images/logo-long.png", sheet.read_text()))
    for page in site.rglob("*.html"):
        up = "../" * (len(page.relative_to(site).parts) - 1)
        page.write_text(rewrite(page.read_text(), up))


def rewrite(html: str, up: str) -> str:
    """Return a page that loads nothing from outside. `up` leads from the page to the site's root."""
    html = _SCRIPT.sub(lambda found: _local(found, f'<script src="{up}static/vendor/{{}}"></script>'), html)
    html = _STYLE.sub(lambda found: _local(found, f'<link rel="stylesheet" href="{up}static/vendor/{{}}">'), html)
    html = _PIXEL.sub(f"{up}static/images/logo-long.png", html)
    html = _NEWSLETTER.sub(f'<p><a href="{up}../index.html">Back to the quality report</a></p>', html)
    return _LINK_OUT.sub(lambda found: found["text"], html)


def _local(found: re.Match[str], tag: str) -> str:
    """Return the tag with our copy of the file, or nothing (Vega): an unknown file is left out rather than loaded."""
    copy = VENDORED.get(found["address"].rsplit("/", 1)[-1])
    return tag.format(copy) if copy else ""
