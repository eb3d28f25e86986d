#!/usr/bin/env bash
# zstandard 0.25.0: decompress() reads the first frame and says nothing about the rest.
#
# Expected: a sequence of frames is valid Zstandard data (RFC 8878, section 3.1), so decompress() returns all of it, as
#   `zstd -d` does, or complains about the bytes that it leaves.
# Seen: of two frames decompress() returns the first, without an error. The same holds for any bytes behind a frame.
#   A stream_reader with read_across_frames=True returns both.
# Why it matters here: a producer that appends frames to one stream entry lost every event but those of the first
#   frame, and the count of received lines could not tell.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check zstandard==0.25.0
cd "$work"
cat > check.py <<'PYTHON'
import zstandard

two_frames = zstandard.compress(b"first event\n") + zstandard.compress(b"second event\n")
once = zstandard.ZstdDecompressor().decompress(two_frames)
across = zstandard.ZstdDecompressor().stream_reader(two_frames, read_across_frames=True).read()
print("decompress():", once)
print("stream_reader(read_across_frames=True):", across)
assert once == b"first event\n", once
assert across == b"first event\nsecond event\n", across
PYTHON
"$work/venv/bin/python" check.py
