"""Rules of the domain that more than one model needs."""

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
    """The marketing channel of a visit; no utm field at all means it came directly.

    Example: `@CHANNEL(utm_source, utm_medium, utm_campaign)` renders
    `CASE WHEN utm_source IS NULL AND ... THEN 'direct' WHEN LOWER(utm_medium) IN ('cpc', ...) THEN 'paid_search' ...`.
    """
    nothing = exp.and_(*(exp.Is(this=column.copy(), expression=exp.null()) for column in (source, medium, campaign)))
    case = exp.Case().when(nothing, exp.Literal.string("direct"))
    for name, media in CHANNELS:
        values = [exp.Literal.string(value) for value in media]
        case = case.when(exp.In(this=exp.Lower(this=medium.copy()), expressions=values), exp.Literal.string(name))
    return case.else_(exp.Literal.string("other"))
