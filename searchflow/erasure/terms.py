"""The identifiers of a person to look for, as whole words in bytes and as patterns for SQL.

A part of a longer word never counts: the erasure of `u-1` must not touch `u-12` or `u-1.b`. Identifiers are searched as they
are and as JSON, HTML or a URL would write them; addresses and UUIDs in any case. An identifier that could be any word or
number (`CA`, `maria`, `42`) is searched only in columns that hold identifiers of its kind, and beside its field's name.

A search has two steps. `perhaps_in` looks for all identifiers at once as bytes (Aho-Corasick, in Polars), for any number of
identifiers. `spans`, `cut_out` and `is_key` then decide about the few texts that are left. One regular expression of hundreds
of identifiers took DuckDB minutes for what this finds in a second.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Sequence
from urllib.parse import quote

import polars as pl

from searchflow.erasure.person import Person

REPLACEMENT = "erased"
SHORTEST = 3
LARGE = 4096
"""The size in bytes from which it is cheaper to look first whether there is anything to find."""
_PLAIN = re.compile(r"[^\W\d_]{1,19}|[0-9]{1,7}")
_WORD = re.compile(rb"[A-Za-z0-9_.@+%~#\x80-\xff-]+")
_TEXT = re.compile(rb'"((?:[^"\\]|\\.)*+)(?:"|\\?\Z)', re.DOTALL)
"""A JSON text, or the rest of one that does not end, so that each byte is read only once, also of hostile input."""
_PARTS = re.compile('[:"\x01]')


class Terms:
    """The identifiers of one person, in every form in which they are searched."""

    def __init__(self, person: Person) -> None:
        self.user_id, self.sessions = person.user_id, person.sessions
        """The ids for columns of users and of sessions, also ids that could be any word or number."""
        exact = [each for each in (person.user_id, *person.sessions) if not is_plain(each)]
        self.plain = len(exact) <= len(person.sessions)
        folded = [*person.emails, *person.events]
        self.identifiers = [*exact, *folded]
        """The identifiers that are searched everywhere."""
        self._exact, self._folded = _all_forms(exact), _all_forms(folded)
        encoded = {form.encode("utf-8", "surrogatepass") for form in self._exact}
        any_case = {form.encode("utf-8", "surrogatepass").lower() for form in self._folded}
        self._words = {each for each in encoded if _WORD.fullmatch(each)}
        self._folded_words = {each for each in any_case if _WORD.fullmatch(each)}
        self._phrases = sorted(encoded - self._words)
        self._fields = [*_fields("user_id", [person.user_id]), *_fields("session_id", person.sessions)]
        values = [value for _, value in self._fields]
        self._exact_needles = [*self._exact, *(f'{value}"' for value in values)]
        self._keys, self._folded_keys = set(self._exact), {form.lower() for form in self._folded}
        self._composed = [form for form in self._exact if _PARTS.search(form)]
        self._folded_phrases = sorted(any_case - self._folded_words)
        self._names = [form.encode("utf-8", "surrogatepass") for form in _all_forms(person.names)]

    def spans(self, data: bytes) -> list[tuple[int, int]]:
        """Return where identifiers stand in `data`: (first byte, one after the last)."""
        found = [] if len(data) > LARGE and not any(self.perhaps_in_bytes([data])) else self._spelt_out(data)
        if b"\\u" in data:
            found += [span for span in self._escaped(data) if span not in found]
        return sorted(found)

    def _spelt_out(self, data: bytes) -> list[tuple[int, int]]:
        """Return the spans of identifiers whose bytes are there as they are."""
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
        for pattern, _ in self._fields:
            found += [match.span(1) for match in pattern.finditer(data)]
        return found

    def _escaped(self, data: bytes) -> Iterator[tuple[int, int]]:
        """Yield the spans, between the quotes, of JSON texts that hold an identifier with characters written by number."""
        for match in _TEXT.finditer(data):
            if b"\\u" not in match[1]:
                continue
            try:
                text = json.loads(b'"' + match[1] + b'"')
            except ValueError:
                continue
            plain = text.encode("utf-8", "surrogatepass")
            if self._spelt_out(plain) or self.is_key(text):
                yield match.span(1)

    def perhaps_in(self, texts: pl.Series) -> pl.Series:
        """Return True for every text in which `spans` or `is_key` may find an identifier, and for few others."""
        exact = texts.str.contains_any([*self._exact_needles, "\\u"])
        if not self._folded:
            return exact.fill_null(value=False)
        return (exact | texts.str.contains_any(self._folded, ascii_case_insensitive=True)).fill_null(value=False)

    def named_in(self, text: str) -> bool:
        """Return True when a text holds an identifier."""
        return self.found_in(text.encode("utf-8", "surrogatepass"))

    def perhaps_in_bytes(self, contents: Sequence[bytes]) -> list[bool]:
        """Return True for contents in which `spans` may find an identifier, and for few others; they need not be text.

        An identifier with characters written by number is not found.
        """
        # Each byte becomes one character, because Polars searches only texts.
        texts = pl.Series([content.decode("latin-1") for content in contents], dtype=pl.String)
        exact = texts.str.contains_any([_as_bytes(needle) for needle in self._exact_needles])
        if self._folded:
            folded = [_as_bytes(form) for form in self._folded]
            exact |= texts.str.contains_any(folded, ascii_case_insensitive=True)
        return exact.to_list()

    def cut_out(self, text: str) -> str:
        """Return the text with every identifier replaced."""
        data = text.encode("utf-8", "surrogatepass")
        parts, done = list[bytes](), 0
        for start, end in self.spans(data):
            if start >= done:
                parts += [data[done:start], REPLACEMENT.encode()]
            done = max(done, end)  # when two overlap, both are cut out
        return b"".join([*parts, data[done:]]).decode("utf-8", "surrogatepass")

    def is_key(self, text: str) -> bool:
        """Return True for an identifier, a key made of identifiers (`u-1:2026-05-01`), and a JSON text of such keys."""
        parts = _PARTS.split(text)
        if any(part in self._keys or part.lower() in self._folded_keys for part in parts):
            return True
        ends = ("", ":", '"', "\x01")
        return any(
            text[max(0, start - 1) : start] in ends and text[end : end + 1] in ends
            for form in self._composed
            for start, end in _places(text, form)
        )

    def spans_with_names(self, data: bytes) -> list[tuple[int, int]]:
        """Return where identifiers stand in `data`, and also the person's names when there is an identifier.

        Names alone do not count: they may belong to anyone.
        """
        found = self.spans(data)
        if found:
            found += [span for name in self._names for span in _occurrences(data, name) if _alone(data, span)]
        return sorted(found)

    def found_in(self, data: bytes) -> bool:
        """Return True when `data` holds an identifier."""
        return bool(self.spans(data))

    def _is_one(self, word: bytes) -> bool:
        return word in self._words or word.lower() in self._folded_words


def is_plain(identifier: str) -> bool:
    """Return True for an identifier that could be any word or number."""
    return bool(_PLAIN.fullmatch(identifier)) or len(identifier) < SHORTEST


def _fields(name: str, identifiers: Sequence[str]) -> list[tuple[re.Pattern[bytes], str]]:
    """Return patterns for plain identifiers in a JSON document: the field's name, and the value between its quotes."""
    found = []
    for identifier in filter(is_plain, identifiers):
        value = json.dumps(identifier, ensure_ascii=False)[1:-1]
        content = re.escape(value.encode("utf-8", "surrogatepass"))
        found.append((re.compile(b'"' + name.encode() + rb'"\s*:\s*"(' + content + b')"'), value))
    return found


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


def _as_bytes(text: str) -> str:
    return text.encode("utf-8", "surrogatepass").decode("latin-1")


def _places(text: str, form: str) -> Iterator[tuple[int, int]]:
    start = text.find(form)
    while start >= 0:
        yield start, start + len(form)
        start = text.find(form, start + 1)


def _occurrences(data: bytes, phrase: bytes) -> Iterator[tuple[int, int]]:
    start = data.find(phrase)
    while start >= 0:
        yield start, start + len(phrase)
        start = data.find(phrase, start + 1)


def _alone(data: bytes, span: tuple[int, int]) -> bool:
    """Return True when no word continues before or after the span."""
    start, end = span
    return not _WORD.match(data[start - 1 : start]) and not _WORD.match(data[end : end + 1].strip(b"."))
