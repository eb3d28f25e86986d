"""Traffic into the streams: published beside a bare pipelined XADD of the same entries, live pace, and back-pressure.

The bare client sends the same entries in pipelines of the same length: their texts were made before, and it compresses those
that are compressed, or sends what was compressed before (told, not judged). Publishing starts from rendered batches and
makes the entries. Live traffic is published as `searchflow generate --rate` does it, with its
answer key and journal; the error of its pace is how far events over seconds is from what was asked for.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import Any

from benchmarks.report import Figure, Options, Report
from benchmarks.support import Measured, in_child, machine, platform
from searchflow.settings import Settings

EVENTS, HISTORY = 300_000, 600_000
TIMES = 3
"""The number of turns, bare and published; the best counts because the machine is shared."""
RATES, SECONDS = (10, 1_000, 20_000), 60
RATIO, PACE_ERROR = 0.5, 0.01
TIGHT_RATE, TIGHT_CAPACITY, TIGHT_SECONDS = 4_000, 1_000, 10
ROUND_TRIP, ENTRY = 20, 500
NOW = datetime(2026, 3, 2, tzinfo=UTC)
SEED = 42


def run(options: Options) -> Report:
    """Measure ready batches, a history, three live rates, and a reader that is too slow."""
    with platform(options) as settings:
        figures = _ratios(options, settings)
        figures += _history(options, settings)
        figures += [_pace(options, settings, rate) for rate in RATES]
        slow, facts = _back_pressure(options, settings)
    return Report("publish", (__doc__ or "").partition("\n")[0], [*figures, slow], machine() | facts)


def _ratios(options: Options, settings: Settings) -> list[Figure]:
    options.progress("publishing ready batches, and the same entries bare")
    rates = in_child(_against_bare, settings, options.scaled(EVENTS, least=3_000)).result

    def figure(name: str, ours: str, bare: str, limit: str, *, judged: bool = True) -> Figure:
        met = rates[ours] / rates[bare] >= RATIO if judged and options.judges else None
        target = f"at least {RATIO:.0%} of the limit" if judged else ""
        return Figure(name, round(rates[ours]), "events/s", round(rates[bare]), limit, target, met)

    bare = "bare pipelined XADD of the same entries"
    return [
        figure("published, plain", "plain", "bare", bare),
        figure("published, zstd", "zstd", "bare, compressing", f"{bare}, which it compresses"),
        figure(
            "published, zstd, beside a mere copy",
            "zstd",
            "bare, compressed",
            f"{bare}, compressed before",
            judged=False,
        ),
    ]


def _against_bare(settings: Settings, events: int) -> dict[str, float]:
    """Return events a second, published from rendered batches and by a bare client; the best of several turns."""
    from generators import RedisPublisher, Simulation
    from searchflow import streams

    batches = list(Simulation(_world(events, 30)).batches(until=NOW))
    lines = sum(map(len, batches))
    texts = [
        (streams.EVENT_STREAMS[event_type], bytes(text))
        for batch in batches
        for event_type in batch.frames
        for text, _ in batch.text(event_type).entries(ENTRY)
    ]
    ready = {codec: [(name, streams.encode_text(text, codec)) for name, text in texts] for codec in (None, "zstd")}
    with streams.connect(settings) as client:

        def publisher(codec: str | None) -> RedisPublisher:
            return RedisPublisher(client, entry=ENTRY, codec=codec, capacity=settings.stream_capacity)

        work = {
            "plain": partial(_publish_all, publisher(None), batches),
            "bare": partial(_bare, client, ready[None]),
            "zstd": partial(_publish_all, publisher("zstd"), batches),
            "bare, compressing": partial(_bare_compressing, client, texts),
            "bare, compressed": partial(_bare, client, ready["zstd"]),
        }
        turns = [{name: _seconds(client, one) for name, one in work.items()} for _ in range(TIMES)]
    return {name: lines / min(turn[name] for turn in turns) for name in work}


def _seconds(client: Any, work: Callable[[], object]) -> float:
    """Return the seconds of `work`, from empty streams."""
    from searchflow import streams

    client.delete(*streams.EVENT_STREAMS.values())
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _publish_all(publisher: Any, batches: list[Any]) -> None:
    for batch in batches:
        publisher.publish(batch)


def _bare(client: Any, entries: Iterable[tuple[str, dict[bytes, bytes]]]) -> None:
    waiting = iter(entries)
    while chunk := list(islice(waiting, ROUND_TRIP)):
        pipeline = client.pipeline(transaction=False)
        for stream, entry in chunk:
            pipeline.xadd(stream, entry)
        pipeline.execute()


def _bare_compressing(client: Any, texts: list[tuple[str, bytes]]) -> None:
    import zstandard

    compress = zstandard.ZstdCompressor(level=1).compress
    _bare(client, ((stream, {b"data": compress(text), b"codec": b"zstd"}) for stream, text in texts))


def _history(options: Options, settings: Settings) -> list[Figure]:
    events = options.scaled(HISTORY, least=4_000)
    figures = []
    for processes in sorted({1, machine()["cores"]}):
        options.progress(f"generating and publishing {events:,} events, {processes} process(es)")
        measured = in_child(_generate, settings, events, processes)
        rate = round(measured.result["lines"] / measured.result["seconds"])
        figures.append(Figure(f"generated and published, answer key, {processes} process(es)", rate, "events/s"))
    return figures


def _generate(settings: Settings, events: int, processes: int) -> dict[str, Any]:
    """Do what `searchflow generate --processes N` does, but for the feeds."""
    from generators import next_range, publish_range
    from generators.publishers import StreamPart
    from generators.simulation import WHOLE

    _empty(settings)
    report = publish_range(
        settings,
        next_range(None, NOW, days=400, events=events, seed=SEED),
        partial(StreamPart, settings) if processes > 1 else StreamPart(settings, WHOLE),
        processes=processes,
        write_feeds=False,
        remember=False,
        quiet=True,
    )
    return {"lines": report.lines, "seconds": report.seconds}


def _pace(options: Options, settings: Settings, rate: int) -> Figure:
    seconds = max(2.0, SECONDS * options.size)
    options.progress(f"{rate:,} events/s live for {seconds:.0f} s")
    error = in_child(_live, settings, rate, seconds).result["error"]
    met = error <= PACE_ERROR if options.judges else None
    target = f"within {PACE_ERROR:.0%} over {SECONDS} s"
    return Figure(f"live at {rate:,} events/s, error of the pace", round(error * 100, 3), "%", target=target, met=met)


def _live(settings: Settings, rate: float, seconds: float) -> dict[str, Any]:
    from generators import AnswerKey, RedisPublisher, run_live
    from searchflow import streams

    _empty(settings)
    key = AnswerKey(settings.answer_key_dir, f"live_{rate:g}", journal=True)
    with streams.connect(settings) as client:
        publisher = RedisPublisher(client, capacity=settings.stream_capacity)
        report = run_live(_world(250_000, 400), rate, publisher, duration=seconds, key=key)
    took = max(report.seconds, seconds)
    return {"error": abs(report.events / took / rate - 1), "slower": report.seconds_slower}


def _back_pressure(options: Options, settings: Settings) -> tuple[Figure, dict[str, Any]]:
    seconds = max(2.0, TIGHT_SECONDS * options.size)
    options.progress("live traffic into a stream that is read too slowly")
    measured: Measured = in_child(_into_a_full_stream, settings, seconds)
    found = measured.result
    lost = found["lines"] - found["read"]
    figure = Figure(
        "lost in a full stream", lost, "events", target="none, and it waited", met=lost == 0 < found["waits"]
    )
    return figure, {"full_stream": found}


def _into_a_full_stream(settings: Settings, seconds: float) -> dict[str, Any]:
    """Send live traffic into room for a few seconds of it, with a reader at half the pace."""
    from generators import RedisPublisher, run_live
    from searchflow import streams

    _empty(settings)
    done, read = threading.Event(), [0]
    waits: list[int] = []
    reader = threading.Thread(target=_read_slowly, args=(settings, done, read))
    reader.start()
    with streams.connect(settings) as client:
        # Small entries: a live tick fills none of the usual size.
        publisher = RedisPublisher(client, entry=50, capacity=TIGHT_CAPACITY, on_wait=waits.append)
        report = run_live(_world(250_000, 400), TIGHT_RATE, publisher, duration=seconds)
        done.set()
        reader.join()
    return {
        "asked_for": f"{TIGHT_RATE:,} events/s for {seconds:g} s",
        "took_seconds": round(report.seconds, 1),
        "schedule_moved_seconds": round(report.seconds_slower, 1),
        "waits": len(waits),
        "lines": report.lines,
        "read": read[0],
    }


def _read_slowly(settings: Settings, done: threading.Event, read: list[int]) -> None:
    """Read and trim half of what comes; when nothing comes any more, the rest at once."""
    from searchflow import streams

    with streams.connect(settings) as client:
        while True:
            last = done.is_set()
            found = 0
            for stream in streams.EVENT_STREAMS.values():
                entries = streams.read(client, stream, streams.START, entries=4)
                found += sum(len(streams.decode(fields)) for _, fields in entries)
                if entries:
                    streams.trim(client, stream, entries[-1][0])
            read[0] += found
            if last and not found:
                return
            if not last:
                time.sleep(found / (TIGHT_RATE / 2) if found else 0.05)


def _empty(settings: Settings) -> None:
    from searchflow import streams

    with streams.connect(settings) as client:
        client.delete(*streams.EVENT_STREAMS.values())


def _world(events: int, days: int) -> Any:
    from generators import SimulationSettings

    return SimulationSettings.for_history(until=NOW, days=days, events=events, seed=SEED)
