"""Expressions that every engine understands, where their dialects differ."""

from sqlglot import exp, parse_one
from sqlmesh import macro


@macro()
def json_text(evaluator, document, path):  # type: ignore[no-untyped-def]
    """Return the text at `path` of a JSON document held as text; null when it is missing.

    Example: `@JSON_TEXT(payload, '$.query')` renders `(payload ->> '$.query')`.
    """
    if evaluator.runtime_stage not in ("loading", "testing") and evaluator.engine_adapter.dialect == "postgres":
        document = exp.cast(document, exp.DataType.Type.JSON)  # PostgreSQL has no ->> on text
    arrow = parse_one(f"document ->> '{path.name}'", dialect="duckdb")
    arrow.set("this", document)
    return exp.paren(arrow, copy=False)


@macro()
def to_decimal(evaluator, text, precision, scale):  # type: ignore[no-untyped-def]
    """Return a number of a JSON document, given as text, as a decimal; null when it is none or has too many digits.

    DuckDB 1.5.5 reads a text in scientific notation that is far below the last digit as one unit of that digit ('9e-10' as
    0.0001), so such a text goes by way of a double. Example: `@TO_DECIMAL(x, 18, 2)` renders `CASE WHEN x ILIKE '%e-%' THEN
    TRY_CAST(TRY_CAST(x AS DOUBLE) AS DECIMAL(18, 2)) ELSE TRY_CAST(x AS DECIMAL(18, 2)) END`.
    """
    kind = exp.DataType.build(f"DECIMAL({precision.name}, {scale.name})", dialect="duckdb")
    double = exp.TryCast(this=text.copy(), to=exp.DataType.build("DOUBLE"))
    tiny = exp.ILike(this=text.copy(), expression=exp.Literal.string("%e-%"))
    return exp.Case().when(tiny, exp.TryCast(this=double, to=kind.copy())).else_(exp.TryCast(this=text.copy(), to=kind))


@macro()
def minutes(evaluator, count):  # type: ignore[no-untyped-def]
    """Return a length of time in minutes. Example: `event_ts - @MINUTES(30)` renders `event_ts - INTERVAL '30'
    MINUTE`."""
    return exp.Interval(this=exp.Literal.string(count.name), unit=exp.var("MINUTE"))


@macro()
def hours(evaluator, count):  # type: ignore[no-untyped-def]
    """Return a length of time in hours. Example: `event_ts - @HOURS(48)` renders `event_ts - INTERVAL '48' HOUR`."""
    return exp.Interval(this=exp.Literal.string(count.name), unit=exp.var("HOUR"))


@macro()
def days(evaluator, count):  # type: ignore[no-untyped-def]
    """Return a length of time in days. Example: `event_ts - @DAYS(30)` renders `event_ts - INTERVAL '30' DAY`."""
    return exp.Interval(this=exp.Literal.string(count.name), unit=exp.var("DAY"))


@macro()
def digest(evaluator, *values):  # type: ignore[no-untyped-def]
    """Return a number for a group of rows, whatever their order: the sum of their hashes, below 2 to the power of 61.

    Sums of such numbers, again modulo 2305843009213693951, are digests of several groups. Hashes are those of the engine: never
    compare them between engines.
    Example: `@DIGEST(a, b)` renders `SUM(HASH(a, b)) % 2305843009213693951`.
    """
    summed = exp.Sum(this=exp.Anonymous(this="HASH", expressions=[value.copy() for value in values]))
    return exp.Mod(this=summed, expression=exp.Literal.number(2**61 - 1))


@macro()
def unread(evaluator, document, *fields):  # type: ignore[no-untyped-def]
    """Return the names of those fields of a JSON document that hold a value which their column's type cannot; null when
    all fit.

    Each field is its path and its type with a colon between. What the contract accepts always fits: a name is here when an
    older release accepted the value, or when the field came as another JSON type.
    Example: `@UNREAD(payload, 'page: INT')` renders `NULLIF(CONCAT_WS(', ', CASE WHEN NOT (payload ->> '$.page') IS NULL AND
    TRY_CAST((payload ->> '$.page') AS INT) IS NULL THEN 'page' END), '')`.
    """
    names = []
    for field in fields:
        path, _, kind = field.name.partition(": ")
        value = json_text(evaluator, document.copy(), exp.Literal.string(f"$.{path}"))
        lost = exp.and_(
            exp.Not(this=exp.Is(this=value, expression=exp.null())),
            exp.Is(
                this=exp.TryCast(this=value.copy(), to=exp.DataType.build(kind, dialect="duckdb")),
                expression=exp.null(),
            ),
        )
        names.append(exp.Case().when(lost, exp.Literal.string(path)))
    joined = exp.ConcatWs(expressions=[exp.Literal.string(", "), *names])
    return exp.func("NULLIF", joined, exp.Literal.string(""))
