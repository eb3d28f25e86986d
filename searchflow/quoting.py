"""SQL text from names and values that are not ours: the one place that knows how DuckDB and PostgreSQL quote.

Values go into statements as parameters; this is for the places where a statement takes none (ATTACH, COPY, SET), and for names.
"""

from __future__ import annotations


def identifier(name: str) -> str:
    """Quote one name, whatever characters it has; a double quote inside is doubled.

    >>> identifier("user_id")
    '"user_id"'
    """
    return '"' + name.replace('"', '""') + '"'


def quoted(name: str) -> str:
    """Quote a name with its schema: `a.b` becomes two names."""
    return ".".join(map(identifier, name.split(".")))


def literal(text: object) -> str:
    """Quote a text, or what is written as one (a path); a single quote inside is doubled.

    >>> literal("l'amour")
    "'l''amour'"
    """
    return "'" + str(text).replace("'", "''") + "'"
