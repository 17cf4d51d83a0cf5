"""smith-sdk beside other clients: the same work, side by side, in one run.

Usage: `python benchmarks/run.py [--quick] [--only PART] [--native] [--json FILE]`.

The work: a typed JSON payload of 323 bytes (an IntentResult), published to the stream
ATOMS_RESULTS (file storage, dev profile) on its own subject with a `Nats-Msg-Id`, and read back
through the consumer `http-results` with an ack for each message, or in order without a durable
(nats-py's `ordered_consumer`, undecoded; `bus.read`, decoded). The peers: raw nats-py, the async
face (`AsyncSmithBus`), the blocking face (`SmithBus`) and, where they are installed, natsio (Python
3.13 and later) and FastStream (reading only: it has no pipelined publish).

The rules:

- Each on its own fast path. nats-py: `publish_async` with a window of 4,000 where publishing is
  pipelined, `publish` awaited where it is not, `fetch(500)` and `ack()` for reading. natsio: the
  same calls, and `consume(max_messages=500)` and `ack()` for reading. FastStream: a pull subscriber
  with `batch_size=500`, once with a handler for each message and once with a handler for a list of
  them, no logging, no pydantic. smith-sdk: `publish_many` or `submit`, `publish`,
  `consumer().messages()` and `ack()`.
- The same bytes, subjects, message ids, stream, consumer and server for all; the same window
  (4,000) and the same number of messages asked for at once (500, where the consumer allows 1,000
  unanswered). Every kind of work has a fresh embedded server and fresh connections.
- One process. All clients share one event loop (asyncio's own) and take turns; the blocking face is
  called from one thread while that loop is idle, and has its own loop in a second thread, as
  always.
- Rounds are interleaved (A B C, B C A, ...), the stream is purged before each, every round has
  message ids of its own. A rate is the median of its rounds, a ratio the median of the ratios
  within the rounds. A shorter round that warms up is not counted.
- The clock stops when the last ack of a publish has been received, and when the server has counted
  the last ack of a message that was read: for every peer the harness asks the server itself, on a
  connection of its own.
- The processor time is this process's own, over all its threads, without the server's and without
  those questions. It moves
  less than the rates do when others use the machine, and says where a rate is the server's limit,
  not the client's.
- Before each round the garbage collector runs and what is there is frozen; during it the collector
  is on, for every peer.
- Every round is checked, off the clock: each publish acknowledged as stored and no duplicate,
  nothing left to deliver or to acknowledge.

Where ours does more for the same rate: nats-py and natsio are handed finished bytes, subjects and
ids and take the payload of what they read as bytes. smith-sdk starts from a typed subject and a
payload object (both made before the clock starts), checks that they belong together, encodes,
derives the message id, gives every message a deadline and checks which stream answered; reading, it
parses the subject and decodes and validates the payload. FastStream decodes the JSON to a dict and
validates nothing.

Where ours does less: FastStream is a framework. It runs a handler for each message, the 500 of a
fetch at the same time, and acknowledges what they have handled; our loop takes one message after
the other and acknowledges it itself. With a list FastStream runs one handler for 500 messages,
which are acknowledged or refused as one.

Limits (`--native`): nats.go and async-nats, each in a process of its own with a connection of its
own and the same rounds; they measure their own time and the processor time of all their threads,
and are handed finished bytes, as nats-py is. Both on their own fast path: `PublishMsgAsync` with a
window of 4,000 and `Messages` with 500 in nats.go; `send_publish` with as many acks outstanding and
a stream of batches of 500 in async-nats, once on tokio's default runtime and once on one thread,
which takes less processor time.

Latency: single messages at an even rate through `submit` into a `Worker`, from before the call to
the first line of the handler, payload decoded; publisher and worker have a connection each and
share the loop, so what delays the one delays the other. A machine whose cores are busy with other
things shows in p99 first. The reference is `publish_async` and a loop around `fetch(500)`, decoding
nothing.

Fairness: the workers of one consumer are processes with a connection each, 8 slots and the same
handler, which takes 10 ms; in one round nothing, which leaves the shares to whoever gives out
processor time, so that has no goal. Jain's index is 1 where all have the same and 1/4 where one of
four has all; the spread is the difference between the largest and the smallest share, by the mean.
The slow worker takes ten times as long and is killed in the end: what is redelivered is what it
held.

Sharding: processes of a sharded worker with 2 slots each, whose handlers take 5 ms, so that what
grows is what they do at the same time, not what the cores bear; all is published at once, as many
of each shard, and the clock stops when all are acknowledged. The overhead: one process of a sharded
worker and one of a plain worker with as many slots, in turns, the same messages; once with 32 slots
and handlers that do nothing, which is the processor time, and once with 8 slots and 5 ms.

Takeovers: four processes of each system, a handler of 5 ms that writes an effect to a stream
without deduplication, first as fast as it goes, then 500 messages/s while one process after the
other is killed and replaced, or stopped for twice the pin timeout (3 s). A takeover is from the
fault to the next new effect of a shard that had work. natsio-pcgroups handles one message of
a partition at a time; ours one of a key, with 4 slots in each process: 16 of both.

Admission: intents wait in the raw stream and are let through by a gate with 64 slots and a policy
that allows everything. First with each kind of policy: the processor time of an intent, as a
multiple of that of a publish_many message in the same round. Then signed ones, with nothing
verified, with signatures, and with signatures and replay protection (one more confirmed write for
each intent). The clock stops when the gate has counted the last of them as let through.

Pipeline: a publisher, an admission whose inline policy allows everything, an executor whose handler
only returns a result (64 slots each), and a reader that acknowledges the results, each a process of
its own; 50,000 intents are published at once, and the clock stops with the last result read. Once
without `Trust`; once the publisher signs, admission verifies and refuses replays, and the executor
verifies. The ids are compared: "lost" were published and no result came, "twice" are results that
were redelivered. Making and signing the intents is the publisher's work. What a core each would
bear is derived from the busiest process, the server apart, which can use several cores.

Load: the same processes without `Trust`, flooded, and then at 10, 50 and 80 % of that rate for 10 s
each (at 10 % for 50 s), in an open loop: the times are fixed beforehand, with gaps as of
independent callers (exponentially distributed), and latency is from there to the first line of the
executor's handler, and to the reader's. So what the publisher is late by counts, and is reported:
all processes and the server share the cores. The first tenth of each is not counted.

Bulk: the async face publishes to one stream in each way, in turns: by the window, by fast ingest
with and without message ids, and without ids in atomic batches of 1,000. A ratio is that of a rate
to the window's, within a round. The window always sends ids. natsio's own fast ingest takes part
where natsio-jetstream-batch is installed.

Breaker: two buses of the async face, one with the default circuits around publishing and one
without, take turns on one server; a ratio is default / without, within a round. And one call
through a circuit that is closed, and one that is refused, in a loop of nothing else.

Once: the same intents wait in the vetted stream and are executed by a worker that returns a result
for each: as it is, with `once=True` (one look-up more for each intent) and with `once=Once(...)` (a
claim and its end more), with 64 slots and with one. The clock stops when the worker has counted the
last as succeeded. An executed intent is compared with a message of `publish_many` in the same
rounds.

Telemetry: five buses of the async face take turns on one server: without it, with the metrics of
`health.serve`, with OpenTelemetry's no-op providers, with its SDK and nothing sampled, and with its
SDK and everything sampled, whose batches are dropped. A ratio is that of a bus to the one without,
within a round. The messages that the workers handle have no context.

Lag: one look of a `LagMonitor` at 500 consumers, in processor time of this process, and
what that is of one core with a look every 5 seconds.

Memory: a process of its own reads a million messages, and its resident size is looked at every
5,000 of them; another submits to a server that is gone until there is no more room. uvloop:
publishing, reading and latency in processes of their own, in turns, one with asyncio's own loop,
one with uvloop under all clients; a ratio is with / without, so above 1 is faster for rates and
slower for latency.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import bulk
import circuits
import fairness
import gate
import growth
import lag
import latency
import load
import loops
import machine
import memory
import natives
import once
import pipeline
import report
import scale
import sharding
import subject
import tracing
import workers
import workloads
from batch import PAYLOAD_BYTES

from smith_sdk import SmithError

Part = Callable[[report.Figures, bool], None]


def rates(work: str, figures: report.Figures, quick: bool, programs: Mapping[str, Path] | None = None) -> None:
    rounds = 3 if quick else 5
    count = (500 if quick else 2_000) if work == "publish" else (2_000 if quick else 20_000)
    report.progress(f"{work}: {rounds} rounds of {count:,} messages each")
    figures.add_rates(work, asyncio.run(workloads.measure(work, rounds, count, programs=programs)))


def working(figures: report.Figures, quick: bool) -> None:
    rounds, count = (3, 2_000) if quick else (5, 20_000)
    report.progress(f"worker: {rounds} rounds of {count:,} messages each")
    figures.add(asyncio.run(workers.costs(rounds, count)))


def gates(figures: report.Figures, quick: bool) -> None:
    rounds, count = (2, 400) if quick else (5, 4_000)
    report.progress(f"admission: {rounds} rounds of {count:,} intents each")
    figures.add(asyncio.run(gate.costs(rounds, count)))


def pipelines(figures: report.Figures, quick: bool) -> None:
    count = 400 if quick else 50_000
    report.progress(f"pipeline: {count:,} intents, without Trust and with it")
    figures.add(asyncio.run(pipeline.costs(count)))


def loads(figures: report.Figures, quick: bool) -> None:
    flood, seconds = (400, 1.0) if quick else (20_000, 10.0)
    report.progress(
        f"load: the pipeline's maximum, then {seconds:g} s and more each at {', '.join(map(str, load.LEVELS))} % of it"
    )
    figures.add(asyncio.run(load.costs(flood, seconds)))


def bulks(figures: report.Figures, quick: bool) -> None:
    rounds, count = (3, 2_000) if quick else (7, 20_000)
    report.progress(f"bulk: {rounds} rounds of {count:,} messages each, without ids and with them")
    figures.add(asyncio.run(bulk.costs(rounds, count)))


def breakers(figures: report.Figures, quick: bool) -> None:
    rounds = 2 if quick else 15
    many, single = (2_000, 200) if quick else (20_000, 2_000)
    report.progress(f"breaker: {rounds} rounds of {many:,} messages each, one by one {single:,}")
    figures.add(circuits.calls(quick))
    figures.add(asyncio.run(circuits.publishing(rounds, {"publish_many": many, "submit": many, "publish": single})))


def traced(figures: report.Figures, quick: bool) -> None:
    rounds = 2 if quick else 9
    many, single = (2_000, 200) if quick else (10_000, 2_000)
    report.progress(f"telemetry: {rounds} rounds of {many:,} messages each, one by one {single:,}")
    figures.add(asyncio.run(tracing.costs(rounds, {"publish_many": many, "publish": single, "worker": many})))


def runs_once(figures: report.Figures, quick: bool) -> None:
    rounds, count = (2, 400) if quick else (5, 8_000)
    report.progress(f"once: {rounds} rounds of {count:,} intents each")
    figures.add(asyncio.run(once.costs(rounds, count)))


def lags(figures: report.Figures, quick: bool) -> None:
    rounds = 3 if quick else 15
    report.progress(f"lag: {rounds} looks at {lag.CONSUMERS} consumers in each state")
    figures.add(asyncio.run(lag.costs(rounds)))


def latencies(figures: report.Figures, quick: bool) -> None:
    seconds = 1.0 if quick else 5.0
    report.progress(f"latency: {seconds:g} s each at 1,000 messages/s")
    figures.add(latency.figures("nats_py", asyncio.run(latency.nats_py(1_000, seconds))))
    figures.add(latency.figures("async", asyncio.run(latency.worker(1_000, seconds))))


def fair_shares(figures: report.Figures, quick: bool) -> None:
    report.progress("fairness: workers in processes of their own, one of them killed")
    figures.add(asyncio.run(fairness.costs(quick)))


def shared(figures: report.Figures, quick: bool) -> None:
    report.progress("sharding: one process, two and four; a plain worker and a sharded one in turns")
    figures.add(asyncio.run(sharding.costs(quick)))


def taken_over(figures: report.Figures, quick: bool) -> None:
    import takeovers  # the harness of the fault tests

    report.progress("takeovers: each system without faults, then with the same kills and stops")
    if not takeovers.PYTHON:
        report.progress(takeovers.INSTALL)
    figures.add(asyncio.run(takeovers.costs(quick)))


def memories(figures: report.Figures, quick: bool) -> None:
    report.progress("memory: many messages, and a stopped server")
    figures.add(asyncio.run(memory.costs(quick)))


def event_loops(figures: report.Figures, quick: bool) -> None:
    if find_spec("uvloop") is None:
        report.progress("uvloop is not installed: left out")
        return
    report.progress("uvloop: with and without, in turns")
    figures.add(asyncio.run(loops.compare(quick)))


def subjects(figures: report.Figures, quick: bool) -> None:
    report.progress("subjects")
    figures.add({f"subject.{name}.ns": value for name, value in subject.costs(quick).items()})


def growing(figures: report.Figures, quick: bool) -> None:
    report.progress("growth: processes, batches, streams, payloads, consumers, messages that wait")
    figures.add(asyncio.run(growth.costs(quick)))


def scales(figures: report.Figures, quick: bool) -> None:
    report.progress(f"contracts of {' and '.join(map(str, scale.SIZES))} subjects; imports")
    figures.add(scale.costs(quick))


PARTS: dict[str, Part] = {
    **{work: partial(rates, work) for work in workloads.WORK},
    "bulk": bulks,
    "worker": working,
    "admission": gates,
    "pipeline": pipelines,
    "load": loads,
    "breaker": breakers,
    "once": runs_once,
    "telemetry": traced,
    "lag": lags,
    "latency": latencies,
    "fairness": fair_shares,
    "sharding": shared,
    "takeovers": taken_over,
    "memory": memories,
    "uvloop": event_loops,
    "subject": subjects,
    "scale": scales,
    "growth": growing,
}


def main() -> int:
    parser = argparse.ArgumentParser(description="smith-sdk beside other clients, the same work side by side.")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures as one flat JSON object, too")
    parser.add_argument(
        "--only", metavar="PART", choices=PARTS, action="append", help=f"one of {', '.join(PARTS)}; may be repeated"
    )
    parser.add_argument(
        "--native", action="store_true", help="nats.go and async-nats, too, as limits; builds them with go and cargo"
    )
    parser.add_argument("--quick", action="store_true", help="fewer messages and rounds: to see that it runs, not to compare")
    options = parser.parse_args()
    figures = report.Figures()
    parts = dict(PARTS)
    if options.native:
        programs = natives.build()
        parts |= {work: partial(rates, work, programs=programs) for work in natives.WORK}
    facts = machine.facts()
    complete = False
    try:
        for name, part in parts.items():
            if options.only is None or name in options.only:
                part(figures, options.quick)
        complete = True
    except SmithError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    finally:  # what was measured before a part failed is kept
        if options.json is not None:
            machines = {f"machine.{name}": value for name, value in facts.items()}
            about = {"payload.bytes": PAYLOAD_BYTES, "quick": options.quick, "complete": complete}
            options.json.write_text(json.dumps({**figures.flat, **machines, **about}, indent=2) + "\n")
    report.show(figures, facts, quick=options.quick)
    return 0


if __name__ == "__main__":
    sys.exit(main())
