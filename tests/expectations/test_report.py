from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest

from expectations import Outcome, load_suites, suite_names, validate
from expectations.report import building, data_docs, page
from expectations.report.findings import CheckFinding, SuiteRun, TableFindings
from searchflow.settings import Settings
from tests.expectations.small_company import NOW

Company = Callable[..., Settings]
HOSTILE = "<script>alert(1)</script>"


class Loads(HTMLParser):
    """Every address that a page loads or links to."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value for name, value in attrs if name in ("src", "href", "srcset", "data") and value]


def pages(settings: Settings) -> list[Path]:
    return sorted((settings.reports_dir / "quality").rglob("*.html"))


@pytest.mark.integration
def test_the_report_is_whole_offline_and_shows_no_personal_data(company: Company) -> None:
    settings = company(
        f"""
        UPDATE raw.user_profiles SET email = 'zoe.martin@example', country = 'zoe.martin@example.org';
        UPDATE raw.search_events SET payload = '{{"platform": "{HOSTILE}", "query": "zoe.martin@example.org"}}';
        UPDATE raw.dead_letters SET reason_code = '{HOSTILE}';
        UPDATE marts.dim_users SET platform = '{HOSTILE}', searches = 0;
        INSERT INTO raw.click_events SELECT * REPLACE ('zoe.martin@example.org' AS payload) FROM raw.click_events
        """
    )
    validate(settings, now=NOW)
    written = pages(settings)
    assert building.report_path(settings) in written
    assert len(written) > 20
    for path in written:
        html = path.read_text()
        loads = Loads()
        loads.feed(html)
        assert [address for address in loads.addresses if re.match(r"(https?:)?//", address)] == [], path
        for address in loads.addresses:
            target = address.split("#")[0]
            if target and not target.startswith("data:"):
                assert (path.parent / target).exists(), (path, address)
    everything = "".join(
        path.read_text(errors="replace")
        for folder in (settings.reports_dir / "quality", settings.home / "quality")
        for path in folder.rglob("*")
        if path.is_file() and "vendor" not in path.parts and path.suffix in (".html", ".json")
    )
    for secret in ("zoe.martin", "Zoé", "Zo\\u00e9", HOSTILE, "u-1"):
        assert secret not in everything, secret


@pytest.mark.integration
def test_the_page_says_what_is_wrong_since_when_and_what_waits(company: Company) -> None:
    settings = company()
    suite = "marts.mart_user_segments"
    validate(settings, suite, now=NOW - timedelta(days=5), build_report=False)
    company("DELETE FROM marts.mart_user_segments")
    validate(settings, suite, now=NOW - timedelta(days=3), build_report=False)
    validate(settings, suite, now=NOW)
    html = building.report_path(settings).read_text()
    assert "1 table must not be used" in html
    assert "All users, and no one else, have a segment." in html
    assert "27 Feb 2026, 12:00 UTC, 3 days ago" in html
    assert "must wait for: User segments" in html
    assert f"{len(suite_names()) - 1} tables not checked yet" in html
    assert html.count("<circle") == 3  # three runs in the trend


@pytest.mark.integration
def test_a_second_report_takes_the_place_of_the_first(company: Company) -> None:
    settings = company("DELETE FROM marts.mart_user_segments")
    validate(settings, "marts.mart_user_segments", now=NOW - timedelta(hours=1))
    assert "must not be used" in building.report_path(settings).read_text()
    settings = company()
    validate(settings, "marts.mart_user_segments", now=NOW)
    assert "All numbers can be used" in building.report_path(settings).read_text()
    assert [path.name for path in settings.reports_dir.iterdir()] == ["quality"]


def test_whatever_was_observed_cannot_become_markup() -> None:
    suite = load_suites("marts.dim_users")[0]
    at = NOW.replace(tzinfo=None)
    finding = CheckFinding("one_of:platform", "critical", HOSTILE, Outcome.FAIL, HOSTILE, at)
    table = TableFindings(suite, (finding,), (SuiteRun("r", at, Outcome.FAIL, 0, 1),), 'x" onclick="alert(1)')
    html = page.render([table], now=NOW)
    assert HOSTILE not in html
    assert html.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 4
    assert ' onclick="' not in html


def test_the_trend_shows_the_state_of_all_tables_after_each_run() -> None:
    users, segments = load_suites("marts.dim_users")[0], load_suites("marts.mart_user_segments")[0]
    at = NOW.replace(tzinfo=None)
    later = at + timedelta(hours=1)
    good, bad = SuiteRun("1", at, Outcome.PASS, 10, 10), SuiteRun("2", later, Outcome.FAIL, 5, 10)
    tables = [TableFindings(users, (), (good,), None), TableFindings(segments, (), (good, bad), None)]
    points = page.trend_points(tables)
    assert [(point.rate, point.outcome) for point in points] == [(1.0, Outcome.PASS), (0.75, Outcome.FAIL)]


def test_a_report_without_any_run_says_so() -> None:
    html = page.render([], now=NOW)
    assert "Nothing was checked yet" in html


def test_nothing_that_great_expectations_loads_from_outside_is_left_in_a_page() -> None:
    import great_expectations.render.view as view

    templates = Path(view.__file__).parent / "templates"
    for template in sorted(templates.glob("*.j2")):
        html = data_docs.rewrite(template.read_text(), "../")
        assert not re.search(r"""(src|href)=["']?https?://""", html), template.name
        assert "amazonaws" not in html, template.name
    imports = data_docs.rewrite((templates / "js_script_imports.j2").read_text(), "")
    for name in set(data_docs.VENDORED.values()):
        assert (data_docs.STATIC / "vendor" / name).exists(), name
    assert 'src="static/vendor/bootstrap-table.min.js"' in imports
    assert "vega" not in imports


@pytest.mark.integration
def test_rows_in_quarantine_are_counted_on_the_page(company: Company) -> None:
    settings = company(
        "INSERT INTO marts.mart_recommendations SELECT 'u-' || n, 'Rome', CASE WHEN n < 3 THEN 7 ELSE 1 END, 1 "
        "FROM range(99) AS numbers (n)"
    )
    validate(settings, "marts.mart_recommendations", now=NOW)
    html = building.report_path(settings).read_text()
    assert "The numbers can be used, with remarks" in html
    assert "<dt>Rows in quarantine</dt><dd>3 " in html
    assert "100 rows checked: 97 passed, 3 broken, listed by key." in html
    assert "Scores lie between 0 and 1." in html
