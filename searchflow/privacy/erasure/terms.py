"""What to look for: a person's identifiers, as whole words in bytes and as patterns for SQL.

Never a part of a longer word: to erase `u-1` must not touch `u-12`, nor `u-1.b`. Identifiers are looked for as they are
and as JSON, HTML or a URL would write them; addresses and UUIDs in any case. An identifier that could be any word or
number (`CA`, `maria`, `42`) is looked for only in columns that hold identifiers of its kind, and beside its field's name.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Sequence
from urllib.parse import quote

from searchflow.privacy.erasure.person import Person

GROUP = 200
"""Identifiers in one pattern: more would not fit the memory of a pattern's automaton."""
REPLACEMENT = "erased"
SHORTEST = 3
_PLAIN = re.compile(r"[^\W\d_]{1,19}|[0-9]{1,7}")
_WORD = re.compile(rb"[A-Za-z0-9_.@+%~#\x80-\xff-]+")
_SPECIAL = re.compile(r"([\\.^$|?*+()\[\]{}])")
_LETTER = r"[:alnum:]_.@+%~#-"  # what PostgreSQL and RE2 both understand as part of a word
STRICT = ('(^|[:"\x01])', '($|[:"\x01])')
LOOSE = (f"(^|[^{_LETTER}])", f"($|[^{_LETTER}]|[.]$)")


class Terms:
    """The identifiers of one person."""

    def __init__(self, person: Person) -> None:
        self.user_id, self.sessions = person.user_id, person.sessions
        """For columns of users and of sessions, however plain they are."""
        exact = [each for each in (person.user_id, *person.sessions) if not is_plain(each)]
        self.plain = len(exact) <= len(person.sessions)
        folded = [*person.emails, *person.events]
        self.identifiers = [*exact, *folded]
        """Those that are looked for everywhere."""
        self._exact, self._folded = _all_forms(exact), _all_forms(folded)
        encoded = {form.encode("utf-8", "surrogatepass") for form in self._exact}
        any_case = {form.encode("utf-8", "surrogatepass").lower() for form in self._folded}
        self._words = {each for each in encoded if _WORD.fullmatch(each)}
        self._folded_words = {each for each in any_case if _WORD.fullmatch(each)}
        self._phrases = sorted(encoded - self._words)
        self._fields = [*_fields("user_id", [person.user_id]), *_fields("session_id", person.sessions)]
        self._folded_phrases = sorted(any_case - self._folded_words)
        self._names = [form.encode("utf-8", "surrogatepass") for form in _all_forms(person.names)]

    def spans(self, data: bytes) -> list[tuple[int, int]]:
        """Where identifiers stand in `data`: (first byte, one behind the last)."""
        found = []
        for match in _WORD.finditer(data):
            word, start = match.group(), match.start()
            if not self._is_one(word):
                start += len(word) - len(word.lstrip(b"."))
                word = word.strip(b".")
                if not self._is_one(word):
                    continue
            found.append((start, start + len(word)))
        lowered = data.lower() if self._folded_phrases else b""
        for phrases, where in ((self._phrases, data), (self._folded_phrases, lowered)):
            found += [span for phrase in phrases for span in _occurrences(where, phrase) if _alone(where, span)]
        for before, value in self._fields:
            quoted = before + b'"' + value + b'"'
            found += [(end - 1 - len(value), end - 1) for _, end in _occurrences(data, quoted)]
        return sorted(found)

    def spans_with_names(self, data: bytes) -> list[tuple[int, int]]:
        """The same, and where an identifier stands also the person's names: alone they may be anybody's."""
        found = self.spans(data)
        if found:
            found += [span for name in self._names for span in _occurrences(data, name) if _alone(data, span)]
        return sorted(found)

    def found_in(self, data: bytes) -> bool:
        """True when `data` holds an identifier."""
        return bool(self.spans(data))

    def _is_one(self, word: bytes) -> bool:
        return word in self._words or word.lower() in self._folded_words

    def patterns(self, *, strict: bool) -> list[str]:
        """Regular expressions for PostgreSQL and DuckDB; each matches an identifier with what stands before and behind it.

        With `strict` only keys made of identifiers (`u-1:2026-05-01`) and JSON texts match: rows are deleted by it.
        """
        before, behind = STRICT if strict else LOOSE
        return [
            f"{fold}{before}({'|'.join(map(_escaped, group))}){behind}"
            for fold, forms in (("", self._exact), ("(?i)", self._folded))
            for group in _groups(forms)
        ]


def is_plain(identifier: str) -> bool:
    """True for what could be any word or number."""
    return bool(_PLAIN.fullmatch(identifier)) or len(identifier) < SHORTEST


def _fields(name: str, identifiers: Sequence[str]) -> list[tuple[bytes, bytes]]:
    """Plain identifiers as a JSON document would have them: the field's name, and the value between its quotes."""
    return [
        (
            f'"{name}":{space}'.encode(),
            json.dumps(identifier, ensure_ascii=False)[1:-1].encode("utf-8", "surrogatepass"),
        )
        for identifier in identifiers
        if is_plain(identifier)
        for space in ("", " ")
    ]


def _all_forms(identifiers: Sequence[str]) -> list[str]:
    return sorted({form for identifier in identifiers if identifier for form in _forms(identifier)})


def _forms(identifier: str) -> Iterator[str]:
    yield identifier
    for ascii_only in (False, True):
        text = json.dumps(identifier, ensure_ascii=ascii_only)[1:-1]
        yield text
        yield text.replace("/", "\\/")
    yield html.escape(identifier)
    yield quote(identifier, safe="", errors="replace")


def _escaped(form: str) -> str:
    return _SPECIAL.sub(r"\\\1", form)


def _groups(forms: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(forms), GROUP):
        yield forms[start : start + GROUP]


def _occurrences(data: bytes, phrase: bytes) -> Iterator[tuple[int, int]]:
    start = data.find(phrase)
    while start >= 0:
        yield start, start + len(phrase)
        start = data.find(phrase, start + 1)


def _alone(data: bytes, span: tuple[int, int]) -> bool:
    """No word goes on before or behind it."""
    start, end = span
    return not _WORD.match(data[start - 1 : start]) and not _WORD.match(data[end : end + 1].strip(b"."))
