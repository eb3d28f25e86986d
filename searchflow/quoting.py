"""SQL text from names and values that are not our own: the one place that knows how DuckDB and PostgreSQL quote.

Values go into statements as parameters. These functions are for names, and for statements that take no parameters (ATTACH,
COPY, SET).
"""

from __future__ import annotations


def identifier(name: str) -> str:
    """Quote one name, whatever characters it has; a double quote inside it is doubled.

    >>> identifier("user_id")
    '"user_id"'
    """
    return '"' + name.replace('"', '""') + '"'


def quoted(name: str) -> str:
    """Quote a name with its schema: `a.b` becomes two names."""
    return ".".join(map(identifier, name.split(".")))


def literal(text: object) -> str:
    """Quote a text, or a value that is written as text (a path); a single quote inside it is doubled.

    >>> literal("l'amour")
    "'l''amour'"
    """
    return "'" + str(text).replace("'", "''") + "'"
