"""The way in which Ctrl-C ends a DuckDB query at once."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb


@contextmanager
def ended_by_ctrl_c(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Interrupt this connection's query when SIGINT comes. Use this in the main thread only.

    Python runs a signal's handler between two instructions of the main thread, which waits inside DuckDB. DuckDB 1.5.5
    asks Python for signals only between two tasks of this thread: one task of a cross join may take minutes, and another
    thread may have the query's only task. Python writes the signal's number to a socket at once, and a thread waits for it
    there.
    """
    ours, pythons = socket.socketpair()
    pythons.setblocking(False)
    before = signal.set_wakeup_fd(pythons.fileno())
    watcher = threading.Thread(target=_interrupt_at_sigint, args=(ours, connection), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        pythons.close()  # the watcher reads the end of the stream
        watcher.join()
        ours.close()


def _interrupt_at_sigint(numbers: socket.socket, connection: duckdb.DuckDBPyConnection) -> None:
    while received := numbers.recv(64):
        if signal.SIGINT in received:
            connection.interrupt()
