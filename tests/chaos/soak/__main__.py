"""Play, judge, report: `python -m tests.chaos.soak --minutes 4 --seed 7`. Exit status 0: no finding; 1: the soak found
something; 2: wrong call."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from tests.chaos.soak import judgement, play, report


def main() -> int:
    """From the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.soak", description=__doc__)
    parser.add_argument(
        "--minutes", type=float, default=4.0, help="how long the day is played (the verdict comes after)"
    )
    parser.add_argument("--seed", type=int, default=7, help="of the order of acts and of the traffic")
    parser.add_argument(
        "--patience", type=float, default=1.0, help="times longer that things may take, on a busy machine"
    )
    parser.add_argument("--acts", nargs="+", choices=sorted(play.NAMES), help="only these, in this order")
    parser.add_argument("--folder", type=Path, help="keep journal, observations, homes and report here")
    chosen = parser.parse_args()
    if chosen.minutes <= 0:
        parser.error("--minutes is a number above 0")
    for number in (signal.SIGTERM, signal.SIGINT):  # also in the background: what was started is stopped
        signal.signal(number, lambda *_: sys.exit(130))
    if chosen.folder is not None:
        chosen.folder.mkdir(parents=True, exist_ok=True)
        return _soak(chosen.folder.resolve(), chosen)
    with tempfile.TemporaryDirectory(prefix="sf-") as folder:
        return _soak(Path(folder), chosen)


def _soak(folder: Path, chosen: argparse.Namespace) -> int:
    outcome = play.soak(folder, chosen.minutes, chosen.seed, chosen.patience, chosen.acts)
    text = report.text(outcome)
    (folder / "report.md").write_text(text)
    print(text)
    return judgement.exit_status(outcome.findings)


if __name__ == "__main__":
    sys.exit(main())
