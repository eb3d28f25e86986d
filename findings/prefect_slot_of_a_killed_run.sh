#!/usr/bin/env bash
# Prefect 3.8.8: a slot of a concurrency limit stays taken when its holder is killed and the server restarts.
#
# Expected: a slot is leased, so the slot of a process that was killed is free again when the lease ends, whatever else
#   happens in between.
# Seen: with the server left alone the slot is free a while after the lease of 60 seconds. With a restart of the server in
#   between it is never freed: leases are in the server's memory (the default lease storage), slots are in its database.
#   Active slots were 1 a quarter of an hour later.
# Why it matters here: a machine that restarts kills both. Ingestion behind a limit of 1 would stop until someone clears
#   it by hand. Runs of one kind hold an advisory lock in PostgreSQL instead, which ends with its connection.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check prefect==3.8.8 'fastapi>=0.139,<0.151' 'sqlalchemy>=2.0.43,<2.1'
cd "$work"
cat > check.py <<'PYTHON'
import os
import signal
import socket
import subprocess
import sys
import time

import httpx

with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
os.environ |= {
    "PREFECT_HOME": os.path.abspath("prefect"),
    "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
}
HOLDER = """
import time
from prefect.concurrency.sync import concurrency
with concurrency("one", occupy=1, strict=True, lease_duration=60):
    print("holding", flush=True)
    time.sleep(600)
"""
api = httpx.Client(base_url=os.environ["PREFECT_API_URL"], timeout=60)


def start_server() -> subprocess.Popen:
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    for _ in range(600):
        try:
            api.get("/health").raise_for_status()
            return server
        except httpx.HTTPError:
            time.sleep(0.5)
    raise SystemExit("the server did not start")


def kill(process: subprocess.Popen) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def taken() -> int:
    return api.post("/v2/concurrency_limits/filter", json={}).raise_for_status().json()[0]["active_slots"]


def hold_and_die() -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert holder.stdout.readline().strip() == "holding"
    assert taken() == 1
    kill(holder)


server = start_server()
try:
    api.post("/v2/concurrency_limits/", json={"name": "one", "limit": 1}).raise_for_status()
    hold_and_die()
    begun = time.monotonic()
    while taken() and time.monotonic() - begun < 300:
        time.sleep(2)
    print(f"server left alone: {taken()} slots taken after {time.monotonic() - begun:.0f} s")
    assert taken() == 0

    hold_and_die()
    kill(server)
    server = start_server()
    time.sleep(240)
    print(f"server restarted: {taken()} slots taken after 240 s")
    assert taken() == 1
finally:
    kill(server)
PYTHON
"$work/venv/bin/python" check.py
