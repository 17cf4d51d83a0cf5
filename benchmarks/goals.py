"""The project's goals, each one figure of a run: what it is, its name in the JSON, the bound."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Goal(NamedTuple):
    what: str
    figure: str
    least: float | None = None
    most: float | None = None
    below: float | None = None

    @property
    def bound(self) -> str:
        if self.least is not None:
            return f"at least {self.least:g}"
        return f"at most {self.most:g}" if self.most is not None else f"below {self.below:g}"

    def met(self, flat: Mapping[str, float | int]) -> bool:
        value = flat[self.figure]
        if self.least is not None:
            return value >= self.least
        return value <= self.most if self.most is not None else value < (self.below or 0)


GOALS = (
    Goal("publish_many / nats-py publish_async", "publish_many.async.ratio", least=1.8),
    Goal("submit / nats-py publish_async", "submit.async.ratio", least=1.8),
    Goal("publish / nats-py publish", "publish.async.ratio", least=0.95),
    Goal("read and ack / nats-py fetch(500)", "consume.async.ratio", least=2.0),
    Goal("read in order / nats-py ordered consumer", "read.async.ratio", least=2.0),
    Goal("read and ack / FastStream, one by one", "consume.async.ratio_to_faststream", least=5.0),
    Goal("publish_many / natsio publish_async", "publish_many.async.ratio_to_natsio", least=1.2),
    Goal("read and ack / natsio consume", "consume.async.ratio_to_natsio", least=1.0),
    Goal("blocking / async: publish_many", "publish_many.blocking.ratio_to_async", least=0.75),
    Goal("blocking / async: read and ack", "consume.blocking.ratio_to_async", least=0.6),
    Goal("blocking / async: submit", "submit.blocking.ratio_to_async", least=0.6),
    Goal("blocking / async: publish", "publish.blocking.ratio_to_async", least=0.7),
    Goal("Worker with an async handler / messages() and ack", "worker.worker.ratio", least=0.8),
    Goal("Worker with a plain handler / messages() and ack", "worker.plain.ratio", least=0.3),
    Goal("admitted intent, async policy / a publish_many message, CPU", "admission.async.per_publish", most=6.0),
    Goal("admitted intent, plain policy / a publish_many message, CPU", "admission.plain.per_publish", most=6.0),
    Goal("admitted intent, inline policy / a publish_many message, CPU", "admission.inline.per_publish", most=6.0),
    Goal("executed intent with a result / a publish_many message, CPU", "worker.result.per_publish", most=4.0),
    Goal("Worker, a plain handler / an async one", "worker.plain.ratio_to_async", least=0.6),
    Goal("bulk without message ids / the window", "bulk.without_ids.ratio", least=1.5),
    Goal("bulk with message ids / the window", "bulk.with_ids.ratio", least=1.2),
    Goal("publish_many / async-nats, CPU", "publish_many.async.cpu_to_rust", most=1.3),
    Goal("read and ack / async-nats, CPU", "consume.async.cpu_to_rust", most=1.5),
    Goal("publish / async-nats, CPU", "publish.async.cpu_to_rust", most=1.3),
    Goal("intents lost in the pipeline", "pipeline.lost", most=0),
    Goal("intents lost in the pipeline with Trust", "pipeline.trusted.lost", most=0),
    Goal("publish_many with the default breaker / without", "breaker.publish_many.ratio", least=0.97),
    Goal("submit with the default breaker / without", "breaker.submit.ratio", least=0.97),
    Goal("publish with the default breaker / without", "breaker.publish.ratio", least=0.97),
    Goal("CircuitOpen raised and caught (us)", "breaker.refused.us", below=20.0),
    Goal("a look at 500 consumers every 5 s, % of one core", "lag.moving.core_percent", below=5.0),
    Goal("publish to handler, p50 (ms)", "latency.async.p50_ms", below=0.5),
    Goal("publish to handler, p99 (ms)", "latency.async.p99_ms", below=2.0),
    Goal("4 equal workers, Jain's index", "fairness.equal.jain", least=0.98),
    Goal("4 equal workers, spread of their shares", "fairness.equal.spread", below=0.1),
    Goal("3 equal workers beside a slow one, Jain's index", "fairness.slow.jain_of_equals", least=0.98),
    Goal("held by the slow one, of its slots", "fairness.slow.held_of_slots", below=1.001),
    Goal("a worker that joins is busy within (s)", "fairness.joined.busy_s", below=1.0),
    Goal("work of a killed worker comes back, of the ack wait", "fairness.killed.back_of_ack_wait", below=1.2),
    Goal("unanswered, of slots and prefetch", "fairness.equal.unanswered_of_bound", below=1.001),
    Goal("4 processes of a sharded worker / 1, 5 ms a message", "sharding.scaling", least=3.5),
    Goal("sharded worker / plain worker, 5 ms a message", "sharding.busy.ratio", least=0.8),
    Goal("messages that the sharded worker lost under kills", "takeovers.sharded.lost", most=0),
    Goal("overtakes of the sharded worker under kills", "takeovers.sharded.overtakes", below=1),
    Goal("longest takeover, pin timeout 3 s (s)", "takeovers.sharded.takeover_max_s", below=8.0),
    Goal("growth over 1,000,000 messages (MiB)", "memory.growth_mib", below=30.0),
)
