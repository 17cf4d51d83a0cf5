"""smith-sdk against raw nats-py, the same work side by side in one run: `python benchmarks/run.py [--quick] [--json FILE]`.

The work: a typed JSON payload of about 250 bytes (an IntentResult), published to the stream ATOMS_RESULTS (file storage, dev profile) on
its own subject with a `Nats-Msg-Id`, and read back through the consumer `http-results` with an ack for each message. The peers: raw
nats-py, the async face (`AsyncSmithBus`) and the blocking face (`SmithBus`).

The rules:

- Each on its own fast path. nats-py: `publish_async` with a window of 4,000 where publishing is pipelined, `publish` awaited where it is
  not, `fetch(500)` and `ack()` for reading. smith-sdk: `publish_many` or `submit`, `publish`, `consumer().messages()` and `ack()`.
- The same bytes, subjects, message ids, stream, consumer and server for all; the same window (4,000) and the same number of messages asked
  for at once (500, where the consumer allows 1,000 unanswered). Every kind of work has a fresh embedded server and fresh connections.
- One process. nats-py and the async face share one event loop (asyncio's own); the blocking face is called from one thread while that
  loop is idle, and has its own loop in a second thread, as always.
- Rounds are interleaved (A B C A B C ...), the stream is purged before each, every round has message ids of its own. A rate is the
  median of its rounds, a ratio the median of the ratios within the rounds. A shorter round that warms up is not counted.
- The clock stops when the last ack of a publish has been received, and when the server has counted the last ack of a message that was
  read: for every peer the harness asks the server itself, on a connection of its own.
- Before each round the garbage collector runs and what is there is frozen; during it the collector is on, for every peer.
- Every round is checked, off the clock: each publish acknowledged as stored and no duplicate, nothing left to deliver or to acknowledge.

Where ours does more for the same rate: nats-py is handed finished bytes, subjects and ids and takes the payload of what it reads as
bytes. smith-sdk starts from a typed subject and a payload object (both made before the clock starts), checks that they belong together,
encodes, derives the message id, gives every message a deadline and checks which stream answered; reading, it parses the subject and
decodes and validates the payload.

Latency: single messages at an even rate through `submit` into a `Worker`, from before the call to the first line of the handler, payload
decoded; publisher and worker have a connection each and share the loop, so what delays the one delays the other. A machine whose cores
are busy with other things shows in p99 first. The reference is `publish_async` and a loop around `fetch(500)`, decoding nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path

import latency
import machine
import report
import scale
import subject
import workloads

from smith_sdk import SmithError


async def measure(quick: bool) -> report.Figures:
    rounds = 3 if quick else 5
    many, single = (4_000, 500) if quick else (20_000, 2_000)
    figures = report.Figures()
    for work, count in (("publish_many", many), ("submit", many), ("publish", single), ("consume", many)):
        report.progress(f"{work}: {rounds} rounds of {count:,} messages each")
        figures.add_rates(work, await workloads.WORK[work](rounds, count))
    seconds = 1.0 if quick else 5.0
    report.progress(f"latency: {seconds:g} s each at 1,000 messages/s")
    figures.add_latency("nats_py", await latency.nats_py(1_000, seconds))
    figures.add_latency("async", await latency.worker(1_000, seconds))
    report.progress("subjects")
    figures.add_subjects(subject.costs(quick))
    report.progress(f"contracts of {' and '.join(map(str, scale.SIZES))} subjects; imports")
    figures.add(scale.costs(quick))
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description="smith-sdk against raw nats-py, side by side.")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures as one flat JSON object, too")
    parser.add_argument("--quick", action="store_true", help="fewer messages and rounds: to see that it runs, not to compare")
    options = parser.parse_args()
    try:
        figures = asyncio.run(measure(options.quick))
    except SmithError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    facts = machine.facts()
    report.show(figures, facts, quick=options.quick)
    if options.json is not None:
        flat = {**figures.flat, **{f"machine.{name}": value for name, value in facts.items()}, "quick": options.quick}
        options.json.write_text(json.dumps(flat, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
