"""The one rule that names a user's segment, at any moment of their history."""

from sqlglot import exp
from sqlmesh import macro


@macro()
def segment_at(evaluator, moment):  # type: ignore[no-untyped-def]
    """Return the segment of a user at a moment, by precedence; the limits are variables.

    Reads the columns lifetime_revenue, conversions, first_seen_at, last_seen_at, last_searched_at and
    last_converted_at, which say what was known of the user at that moment.
    Example: `@SEGMENT_AT(moment)` renders `CASE WHEN lifetime_revenue > 500 OR conversions >= 5 THEN 'high_value'
    WHEN first_seen_at >= moment - INTERVAL '7' DAY THEN 'new_user' ... ELSE 'regular' END`.
    """

    # SQLMesh finds a macro's variables in its text: each is named where it is read.
    revenue, bookings = evaluator.var("high_value_revenue"), evaluator.var("high_value_conversions")
    new_days, risk_days = evaluator.var("new_user_days"), evaluator.var("at_risk_days")
    abandoned_hours = evaluator.var("abandoned_hours")

    def at(name: str) -> exp.Column:
        return exp.column(name)

    def ago(count: object, unit: str) -> exp.Expression:
        length = exp.Interval(this=exp.Literal.string(str(count)), unit=exp.var(unit))
        return exp.Sub(this=moment.copy(), expression=length)

    never = exp.Is(this=at("last_converted_at"), expression=exp.null())
    since = exp.or_(never, at("last_converted_at") < at("last_searched_at"))
    rules = (
        ("high_value", exp.or_(at("lifetime_revenue") > revenue, at("conversions") >= bookings)),
        ("new_user", at("first_seen_at") >= ago(new_days, "DAY")),
        ("at_risk", exp.and_(at("conversions") > 0, at("last_seen_at") < ago(risk_days, "DAY"))),
        ("abandoned_search", exp.and_(at("last_searched_at") >= ago(abandoned_hours, "HOUR"), since)),
    )
    case = exp.Case()
    for name, rule in rules:
        case = case.when(rule, exp.Literal.string(name))
    return case.else_(exp.Literal.string("regular"))
