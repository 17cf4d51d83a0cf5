"""A worker as a NATS micro-service, so that `nats micro` and `smith workers` show it.

Each worker is a service of its own, with one endpoint: its instances in all processes share the
name, that of the consumer, by which they are asked together (`nats micro stats executor-fs-read`).
A service for each bus, with its workers as endpoints, would have no name that means anything to
another process.
"""

from __future__ import annotations

import os
import secrets
import socket
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from .._core.jetstream.session import Session
from .._core.monitoring.gauges import WorkerGauges
from .._core.services.format import EndpointInfo, EndpointStats, name_of, semver
from .._core.services.responder import Service
from ..contract import ConsumerSpec

SDK_VERSION: Final = "smith_sdk"
"""The key in the metadata of a worker's service whose value is the SDK's version."""

_to_json: Final = msgspec.json.Encoder().encode


async def serve(
    session: Session, spec: ConsumerSpec[Any, Any], gauges: Callable[[], WorkerGauges], busy: Callable[[], int]
) -> None:
    """Answer as the worker of `spec` until this is cancelled. Raises nothing.

    `busy` returns the nanoseconds that its handlers have run.
    """
    streams = next((one.subjects for one in session.contract.streams if one.name == spec.stream), ())
    await session.services.serve(worker_service(spec, streams, gauges, busy))


def worker_service(
    spec: ConsumerSpec[Any, Any], streams: Sequence[str], gauges: Callable[[], WorkerGauges], busy: Callable[[], int]
) -> Service:
    """The service that a worker of `spec` is from now on.

    `streams` are the subjects of its stream.
    """
    version: str = sys.modules[__name__.partition(".")[0]].__version__  # where it has its only home
    subject, group = joined(spec.filters or streams), spec.name

    def stats() -> tuple[EndpointStats, ...]:
        now, spent = gauges(), busy()
        failed = now.retried + now.dead_lettered
        handled = now.succeeded + failed
        counts = EndpointStats(
            name=endpoint.name,
            subject=subject,
            queue_group=group,
            num_requests=handled,
            num_errors=failed,
            last_error=now.last_error,
            processing_time=spent,
            average_processing_time=spent // handled if handled else 0,
            data=msgspec.Raw(_to_json(now)),
        )
        return (counts,)

    metadata = {
        "stream": spec.stream,
        "consumer": spec.name,
        SDK_VERSION: version,
        "host": socket.gethostname(),
        "pid": str(os.getpid()),
    }
    endpoint = EndpointInfo(name=name_of(spec.name), subject=subject, queue_group=group)
    return Service(
        name=name_of(spec.name),
        id=secrets.token_hex(11),
        version=semver(version),
        description=spec.description or f"worker of consumer {spec.name} of stream {spec.stream}",
        metadata=metadata,
        started=datetime.now(UTC),
        endpoints=(endpoint,),
        stats=stats,
    )


def joined(patterns: Sequence[str]) -> str:
    """One subject that covers all `patterns`, as an endpoint has just one."""
    if len(patterns) == 1:
        return patterns[0]
    shared: list[str] = []
    for tokens in zip(*(pattern.split(".")[:-1] for pattern in patterns), strict=False):
        if len(set(tokens)) > 1:
            break
        shared.append(tokens[0])
    return ".".join([*shared, ">"])
