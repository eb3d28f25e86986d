"""Rules of the domain that more than one model needs."""

from datetime import date, timedelta

from sqlglot import exp
from sqlmesh import macro

CHANNELS = (
    ("paid_search", ("cpc", "ppc", "paid")),
    ("paid_social", ("paid_social",)),
    ("email", ("email",)),
    ("organic", ("organic",)),
    ("affiliate", ("referral", "affiliate")),
)


@macro()
def channel(evaluator, source, medium, campaign):  # type: ignore[no-untyped-def]
    """Return the marketing channel of a visit; no utm field at all means it came directly.

    Example: `@CHANNEL(utm_source, utm_medium, utm_campaign)` renders
    `CASE WHEN utm_source IS NULL AND ... THEN 'direct' WHEN LOWER(utm_medium) IN ('cpc', ...) THEN 'paid_search' ...`.
    """
    nothing = exp.and_(*(exp.Is(this=column.copy(), expression=exp.null()) for column in (source, medium, campaign)))
    case = exp.Case().when(nothing, exp.Literal.string("direct"))
    for name, media in CHANNELS:
        values = [exp.Literal.string(value) for value in media]
        case = case.when(exp.In(this=exp.Lower(this=medium.copy()), expressions=values), exp.Literal.string(name))
    return case.else_(exp.Literal.string("other"))


@macro()
def known(evaluator, ingested_at, event_ts=None):  # type: ignore[no-untyped-def]
    """Return a condition that is true for what was ingested before this run began, so that all models of a run see the
    same events.

    Ingestion goes on while models are made; without this cut a later model would know events that an earlier one does
    not. Rows of unit tests may leave the column out. A model that looks at events of later days than its own names
    their time too: a clock may be minutes ahead of the server's, and before midnight no model has the next day yet.

    Example: `@KNOWN(ingested_at)` renders `COALESCE(ingested_at <= CAST('2026-05-20 12:00:00' AS TIMESTAMP), TRUE)`;
    `@KNOWN(ingested_at, event_ts)` adds `AND event_ts < CAST('2026-05-21 00:00:00' AS TIMESTAMP)`.
    """
    moment = str(evaluator.locals["execution_dtntz"])
    received = exp.Coalesce(this=exp.LTE(this=ingested_at.copy(), expression=_moment(moment)), expressions=[exp.true()])
    if event_ts is None:
        return received
    midnight = _moment(f"{date.fromisoformat(moment[:10]) + timedelta(days=1)} 00:00:00")
    return exp.and_(received, exp.LT(this=event_ts.copy(), expression=midnight))


def _moment(text):  # type: ignore[no-untyped-def]
    return exp.cast(exp.Literal.string(text), "timestamp")
