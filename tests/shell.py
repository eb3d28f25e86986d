"""Commands one after the other in one process: `searchflow` without loading its libraries again for each.

Reads a JSON list of arguments a line; answers with a JSON list of exit status, standard output and standard error.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import traceback
from typing import IO

from searchflow.cli.app import run
from searchflow.garbage import collect_rarely


def main() -> None:
    """Until standard input ends."""
    collect_rarely()
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            status = captured(json.loads(line), out, err)
            answers.write(json.dumps([status, text(out), text(err)]) + "\n")
            answers.flush()


def captured(arguments: list[str], out: IO[bytes], err: IO[bytes]) -> int:
    """What the command and all that it calls write, by the files' numbers."""
    before = os.dup(1), os.dup(2)
    os.dup2(out.fileno(), 1)
    os.dup2(err.fileno(), 2)
    try:
        return run(arguments)
    except Exception:  # as the interpreter would end
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, kept in enumerate(before, start=1):
            os.dup2(kept, number)
            os.close(kept)


def text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
