"""The search for known security holes in the locked versions. It runs pip-audit, and says when its data is not available.

    python -m searchflow.devtools.known_holes

The exit status is 0 when no hole is known or pip-audit could not be asked, and 1 when there are holes; each is named.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from searchflow.settings import ROOT

PROGRAM = "pip-audit==2.10.1"
SECONDS = 300
ARGUMENTS = ("--no-deps", "--disable-pip", "--progress-spinner", "off", "--format", "json")


def main(lock: Path = ROOT / "requirements.lock", program: str = PROGRAM) -> int:
    """Run pip-audit, print one line for each hole, and return the exit status."""
    uv = Path(sys.executable).with_name("uv")
    command = [str(uv), "tool", "run", program, "-r", str(lock), *ARGUMENTS]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        return _unknown(type(error).__name__)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        last = done.stderr.strip().splitlines()
        return _unknown(last[-1] if last else "it said nothing")
    asked = [each for each in packages if "skip_reason" not in each]
    if not asked:
        return _unknown(f"its data has none of {len(packages)} packages")
    holes = [(each["name"], each.get("version", "?"), hole) for each in packages for hole in each.get("vulns", [])]
    for name, version, hole in holes:
        _say(f"{name} {version}: {hole['id']}, fixed in {', '.join(hole['fix_versions']) or 'no release yet'}")
    if not holes:
        _say(
            f"No known security holes in {len(asked)} of {len(packages)} locked packages; pip-audit does not know the others."
        )
    return 1 if holes else 0


def _unknown(why: str) -> int:
    _say(f"Known security holes: not checked, because pip-audit or its data is not available here ({why[:200]}).")
    return 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
