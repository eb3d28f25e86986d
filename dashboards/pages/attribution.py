"""Marketing attribution: what did each channel and campaign cost, and what did it bring, by whose rule?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

from dashboards import charts, definitions, formats, theme
from dashboards.frame import Drill, Page, can_drill, changes, chart, column, nothing, numbers, open_page, tile
from dashboards.queries import attribution
from dashboards.queries.attribution import MODELS, Spend

ATTRIBUTION = "marts.mart_campaign_attribution"
LEVELS = {"channel": "Channel", "source": "Source", "medium": "Medium", "campaign": "Campaign"}


def meaning(name: str) -> str | None:
    """Return a column's meaning, in its model's words."""
    return definitions.of(f"{ATTRIBUTION}.{name}")


def render(page: Page) -> None:
    """Draw the rule, the totals, what it says of channels and campaigns, first against last touch, all seven rules."""
    model = st.selectbox(
        "Attribution model",
        list(MODELS),
        index=list(MODELS).index(attribution.DEFAULT_MODEL),
        format_func=formats.label,
        key="model",
        bind="query-params",
        width=260,
        help=meaning("model"),
    )
    st.caption(MODELS[model])
    total = attribution.total(page.reading, page.filters, page.period, model)
    if not total.cost and not total.revenue:
        nothing("Neither spend nor bookings on these days with these filters. Choose more days, or remove a filter.")
        return
    _figures(page, model, total)
    _level(page, model)
    _first_against_last(page)
    _models(page)


FIGURES: tuple[tuple[str, Callable[[float | None], str], Callable[[Spend], float | None], str, str], ...] = (
    ("Ad spend", formats.money, lambda spend: spend.cost, "off", "cost"),
    ("Revenue credited", formats.money, lambda spend: spend.revenue, "normal", "revenue"),
    ("Return on ad spend", formats.ratio, lambda spend: spend.roas, "normal", "roas"),
    ("Cost per booking", formats.money, lambda spend: spend.cost_per_booking, "inverse", "cost_per_booking"),
)
"""The figures: label, how it is written, how it is got, which direction is good, and the column that says what it
means."""


def _figures(page: Page, model: str, total: Spend) -> None:
    before = attribution.total(page.reading, page.filters, page.before, model) if page.before else None
    stamp = page.trust.stamp(ATTRIBUTION)
    with st.grid(4, gap="small", min_column_width=155):
        for label, written, value, color, name in FIGURES:
            change = formats.change(value(total), value(before)) if before else None
            with st.container(
                border=True, gap="xxsmall", height="stretch", key=f"tile-{name.replace('_', '-')}-figure"
            ):
                st.metric(
                    label,
                    written(value(total)),
                    None if change is None else 0 if abs(change) < 0.0005 else f"{change * 100:+,.1f}%",
                    delta_color=color,
                    delta_description=None if change is None else page.before_words,
                    help=meaning(name),
                )
                st.caption(stamp.short, help=stamp.details)


def _level(page: Page, model: str) -> None:
    """Draw cost and return by channel, source, medium or campaign."""
    with tile(
        page,
        "Cost and return",
        ATTRIBUTION,
        key="cost-and-return",
        about=f"{formats.label(model)}. Click a channel's bar to see only that; at most 200 rows, those with most revenue.",
    ) as drawn:
        level = (
            st.segmented_control(
                "By",
                list(LEVELS),
                default="channel",
                required=True,
                format_func=LEVELS.__getitem__,
                key="level",
                bind="query-params",
                label_visibility="collapsed",
            )
            or "channel"
        )
        rows = attribution.at_level(page.reading, page.filters, page.period, model, level)
        if level == "channel":
            left, right = st.columns([3, 6], gap="medium")
            with left:
                _channels(page, model, rows)
        else:
            right = st.container()
        with right:
            drawn.table(
                [row | {"channel": formats.label(row["channel"])} if "channel" in row else row for row in rows],
                {**_names(level), **_columns()},
                alt=f"Cost, revenue and return by {level}",
                height=460 if len(rows) > 12 else "auto",
            )


def _channels(page: Page, model: str, rows: Sequence[dict[str, Any]]) -> None:
    option = charts.ranked(
        [formats.label(row["channel"]) for row in rows],
        [row["revenue"] for row in rows],
        labels=[formats.money(row["revenue"]) for row in rows],
        colors=[theme.CHANNELS.get(row["channel"], theme.GREY) for row in rows],
        name="Revenue",
        tooltip=formats.MONEY_FORMAT,
    )
    chart(
        option,
        alt=f"Revenue by channel, {formats.label(model)}",
        height=40 + 36 * max(len(rows), 1),
        key="channels",
        drill=Drill("channel", [row["channel"] for row in rows]) if can_drill(page, "channel") else None,
    )


def _names(level: str) -> dict[str, Any]:
    named = {
        "channel": column("Channel", width=110, help=meaning("channel")),
        "utm_source": column("Source", help=meaning("utm_source")),
        "utm_medium": column("Medium", help=meaning("utm_medium")),
        "utm_campaign": column("Campaign", width="medium", help=meaning("utm_campaign")),
    }
    order = {
        "channel": ("channel",),
        "source": ("utm_source", "channel"),
        "medium": ("utm_medium",),
        "campaign": ("utm_campaign", "utm_source", "utm_medium", "channel"),
    }
    return {name: named[name] for name in order[level]}


def _columns() -> dict[str, Any]:
    return {
        "cost": numbers("Spend", formats.MONEY_FORMAT, help=meaning("cost")),
        "revenue": numbers("Revenue", formats.MONEY_FORMAT, help=meaning("revenue")),
        "roas": numbers("ROAS", formats.RATIO_FORMAT, help=meaning("roas")),
        "bookings": numbers("Bookings", "%,.1f", help=meaning("conversions")),
        "cost_per_booking": numbers("Per booking", formats.CENTS_FORMAT, help=meaning("cost_per_booking")),
    }


def _first_against_last(page: Page) -> None:
    """Draw what opens journeys and what closes them: the same bookings, credited at their two ends."""
    level = st.session_state.get("level", "channel")
    rows = attribution.first_against_last(page.reading, page.filters, page.period, level)
    if not rows:
        return
    names = [_name(row, level) for row in rows]
    with tile(
        page,
        f"First against last touch, by {level}",
        ATTRIBUTION,
        key="first-last",
        about="Those with more revenue at first touch open journeys; those with more at last touch close them. "
        "The largest moves between the two rules.",
    ) as drawn:
        opens, closes = rows[0], rows[-1]
        if opens["moves"] < 0 < closes["moves"]:
            st.markdown(
                f"**{formats.plain(names[0])}** opens more than it closes: {_money(-opens['moves'])} less at last touch. "
                f"**{formats.plain(names[-1])}** closes more than it opens: {_money(closes['moves'])} more."
            )
        left, right = st.columns([4, 5], gap="medium")
        with left:
            chart(
                charts.pairs(
                    names,
                    [row["first_touch"] for row in rows],
                    [row["last_touch"] for row in rows],
                    labels=("First touch", "Last touch"),
                ),
                alt="Revenue at first touch and at last touch",
                height=90 + 34 * len(rows),
                key="first-last-chart",
            )
        with right:
            drawn.table(
                [
                    row | {"name": name, "relative": None if row["relative"] is None else 100 * row["relative"]}
                    for name, row in zip(names, rows, strict=True)
                ],
                {
                    "name": column(LEVELS[level], width=140),
                    "first_touch": numbers("First touch", formats.MONEY_FORMAT, help=MODELS["first_touch"]),
                    "last_touch": numbers("Last touch", formats.MONEY_FORMAT, help=MODELS["last_touch"]),
                    "moves": changes(f"Moves ({formats.CURRENCY})", "%+,.0f", help="Last touch less first touch."),
                    "relative": changes("In percent", help="Of what it has at first touch."),
                },
                alt="Revenue at first and at last touch, and what moves between them",
            )


def _money(value: float) -> str:
    return formats.money(value).replace("$", "\\$")


def _name(row: dict[str, Any], level: str) -> str:
    if level == "channel":
        return formats.label(row["channel"])
    value = row[f"utm_{level}"]
    return value if value is not None else f"(none, {formats.label(row.get('channel')).lower()})"


def _models(page: Page) -> None:
    rows = attribution.by_model(page.reading, page.filters, page.period)
    values = {(row["model"], row["channel"]): row["revenue"] for row in rows}
    known = [model for model in MODELS if any(key[0] == model for key in values)]
    parts = [name for name in theme.CHANNELS if any(key[1] == name for key in values)]
    parts += sorted({channel for _, channel in values} - set(parts))
    labels = {name: formats.label(name) for name in (*known, *parts)}
    with tile(
        page,
        "The seven models side by side",
        ATTRIBUTION,
        key="models",
        meaning=meaning("model"),
        about="The same revenue, shared by seven rules. What a channel gains under one rule, others lose.",
    ) as drawn:
        chart(
            charts.shares(known, parts, values, colors=theme.CHANNELS, labels=labels),
            alt="Share of revenue by channel under each attribution model",
            height=310,
            key="models-chart",
        )
        drawn.table(
            [{"channel": labels[part], **{model: values.get((model, part), 0.0) for model in known}} for part in parts],
            {
                "channel": column("Channel", width=110),
                **{model: numbers(labels[model], formats.MONEY_FORMAT, help=MODELS[model]) for model in known},
            },
            alt="Revenue of each channel under each attribution model",
        )


render(
    open_page(
        "Marketing attribution",
        about="What each channel cost and brought",
        tables=[ATTRIBUTION],
        applies=("channel",),
        reason="Bookings are credited to visits, and spend is known by campaign only.",
    )
)
