"""Lines of any length in little memory: of a line above the contract's size only its head and a digest are kept."""

from __future__ import annotations

import hashlib

from searchflow.events import MAX_EVENT_BYTES, Rejection


class LongLine:
    """A line that is too large to be an event, as it is read piece by piece: its first bytes, its length, its SHA-256."""

    def __init__(self, piece: bytes = b"") -> None:
        self.head, self.length, self._digest = b"", 0, hashlib.sha256()
        self.add(piece)

    def add(self, piece: bytes) -> None:
        """Add the next bytes of the line."""
        if len(self.head) < MAX_EVENT_BYTES:
            self.head += piece[: MAX_EVENT_BYTES - len(self.head)]
        self.length += len(piece)
        self._digest.update(piece)

    def rejection(self, event_type: str | None = None) -> Rejection:
        """Return the reason why the line is not an event, with the length and the digest that its dead letter lacks."""
        return Rejection(
            "too_large",
            f"the event has {self.length:,} bytes; at most {MAX_EVENT_BYTES:,} are allowed. The first "
            f"{len(self.head):,} are kept; the SHA-256 of all is {self._digest.hexdigest()}",
            event_type,
        )


class Splitter:
    """A splitter of a text that comes in pieces. It gives the lines without their newlines and leaves out blank ones."""

    def __init__(self) -> None:
        self._rest = b""
        self._long: LongLine | None = None

    def feed(self, piece: bytes) -> list[bytes | LongLine]:
        """Take the next piece, and return the lines that end in it."""
        found: list[bytes | LongLine] = []
        if self._long is not None:
            head, newline, piece = piece.partition(b"\n")
            self._long.add(head)
            if not newline:
                return found
            found.append(self._long)
            self._long = None
        *whole, self._rest = (self._rest + piece if self._rest else piece).split(b"\n")
        found += [line if len(line) <= MAX_EVENT_BYTES else LongLine(line) for line in whole if line.strip()]
        if len(self._rest) > MAX_EVENT_BYTES:
            self._long, self._rest = LongLine(self._rest), b""
        return found

    def end(self) -> list[bytes | LongLine]:
        """Return what stands behind the last newline."""
        found: list[bytes | LongLine] = [self._long] if self._long is not None else []
        if self._rest.strip():
            found.append(self._rest)
        self._long, self._rest = None, b""
        return found
