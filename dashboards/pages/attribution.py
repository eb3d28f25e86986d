"""Marketing attribution: what did each channel and campaign cost, and what did it bring, by whose rule?"""

from __future__ import annotations

import streamlit as st

from dashboards import charts, formats, theme
from dashboards.frame import Page, chart, column, nothing, numbers, open_page, table
from dashboards.queries import attribution
from dashboards.queries.attribution import MODELS


def render(page: Page) -> None:
    """The rule, the totals, the channels, the seven rules side by side, the campaigns."""
    model = st.selectbox(
        "Attribution model",
        list(MODELS),
        index=list(MODELS).index(attribution.DEFAULT_MODEL),
        format_func=formats.label,
        key="model",
        bind="query-params",
        width=260,
    )
    st.caption(MODELS[model])
    total = attribution.total(page.reading, page.filters, page.period, model)
    if not total.cost and not total.revenue:
        nothing("Neither spend nor bookings on these days with these filters. Choose more days, or remove a filter.")
        return
    _tiles(page, model, total)
    _channels(page, model)
    _models(page)
    _campaigns(page, model)


def _tiles(page: Page, model: str, total: attribution.Spend) -> None:
    earlier = page.period.previous()
    before = attribution.total(page.reading, page.filters, earlier, model) if earlier.within(page.known) else None
    with st.grid(4, gap="small", min_column_width=155):
        for label, written, value, color, meaning in (
            ("Ad spend", formats.money, lambda spend: spend.cost, "off", "What the campaigns cost."),
            (
                "Revenue credited",
                formats.money,
                lambda spend: spend.revenue,
                "normal",
                "Booked value of the days; every model shares the same sum.",
            ),
            (
                "Return on ad spend",
                formats.ratio,
                lambda spend: spend.roas,
                "normal",
                "Revenue of campaigns that cost something, per dollar spent.",
            ),
            (
                "Cost per booking",
                formats.money,
                lambda spend: spend.cost_per_booking,
                "inverse",
                "Spend per booking credited to campaigns that cost something. Less is better.",
            ),
        ):
            change = formats.change(value(total), value(before)) if before else None
            st.metric(
                label,
                written(value(total)),
                None if change is None else 0 if abs(change) < 0.0005 else f"{change * 100:+,.1f}%",
                delta_color=color,
                delta_description=None if change is None else "vs previous",
                help=meaning,
                border=True,
                height="stretch",
            )


def _channels(page: Page, model: str) -> None:
    rows = attribution.channels(page.reading, page.filters, page.period, model)
    left, right = st.columns([3, 5], gap="medium")
    names = [formats.label(row["channel"]) for row in rows]
    with left:
        st.subheader("Revenue by channel", anchor=False)
        option = charts.ranked(
            names,
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
        )
    with right:
        st.subheader("Cost and return", anchor=False)
        table(
            [row | {"name": name} for name, row in zip(names, rows, strict=True)],
            {"name": column("Channel", width=110), **_columns()},
            alt="Cost, revenue and return by channel",
        )


def _columns() -> dict[str, object]:
    return {
        "cost": numbers("Spend", formats.MONEY_FORMAT),
        "revenue": numbers("Revenue", formats.MONEY_FORMAT),
        "roas": numbers(
            "ROAS",
            formats.RATIO_FORMAT,
            help="Return on ad spend: revenue per dollar spent; empty without spend.",
        ),
        "bookings": numbers(
            "Bookings", "%,.1f", help="Credited bookings: a model may share one between several visits."
        ),
        "cost_per_booking": numbers("Per booking", formats.CENTS_FORMAT, help="Spend per credited booking."),
    }


def _models(page: Page) -> None:
    rows = attribution.by_model(page.reading, page.filters, page.period)
    st.subheader("The seven models side by side", anchor=False)
    st.caption("The same revenue, shared by seven rules. What a channel gains under one rule, others lose.")
    values = {(row["model"], row["channel"]): row["revenue"] for row in rows}
    known = [model for model in MODELS if any(key[0] == model for key in values)]
    parts = [name for name in theme.CHANNELS if any(key[1] == name for key in values)]
    parts += sorted({channel for _, channel in values} - set(parts))
    labels = {name: formats.label(name) for name in (*known, *parts)}
    chart(
        charts.shares(known, parts, values, colors=theme.CHANNELS, labels=labels),
        alt="Share of revenue by channel under each attribution model",
        height=310,
        key="models",
    )
    table(
        [{"channel": labels[part], **{model: values.get((model, part), 0.0) for model in known}} for part in parts],
        {
            "channel": column("Channel", width=110),
            **{model: numbers(labels[model], formats.MONEY_FORMAT, help=MODELS[model]) for model in known},
        },
        alt="Revenue of each channel under each attribution model",
    )


def _campaigns(page: Page, model: str) -> None:
    rows = attribution.campaigns(page.reading, page.filters, page.period, model)
    st.subheader("Campaigns", anchor=False)
    st.caption(f"{formats.label(model)}. The 200 with most revenue at most.")
    table(
        [row | {"channel": formats.label(row["channel"])} for row in rows],
        {
            "utm_campaign": column("Campaign", width="medium"),
            "utm_source": column("Source"),
            "utm_medium": column("Medium"),
            "channel": column("Channel"),
            **_columns(),
        },
        alt="Cost, revenue and return by campaign",
        height=420 if len(rows) > 11 else "auto",
    )


render(
    open_page(
        "Marketing attribution",
        about="What each channel cost and brought",
        tables=["marts.mart_campaign_attribution"],
        applies=("channel",),
        reason="Bookings are credited to visits, and spend is known by campaign only.",
    )
)
