"""What the scenarios run on: Smith's subjects and payloads, on a few of its streams, with consumers
for each face.

Each face reads all results through a durable consumer of its own (limits retention), and the raw
intents of its own capability (work queue). `ack_wait` is short: what a fault leaves unanswered
comes again soon.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from msgspec.structs import replace

from smith_sdk import consumers
from smith_sdk.contract import ConsumerSpec, Contract, Profile
from smith_sdk.protocol import FsReadV1Intent, FsReadV1Params, FsWriteV1Intent, FsWriteV1Params
from smith_sdk.subjects import intents
from smith_sdk.topology import CONTRACT

ACK_WAIT: Final = 3.0
FACES: Final = ("async", "blocking")


def results_reader(face: str) -> ConsumerSpec[Any, Any]:
    """Reads the results of all publishers."""
    return replace(consumers.http_results, name=f"results-{face}", ack_wait=ACK_WAIT)


def raw_reader(face: str) -> ConsumerSpec[Any, Any]:
    """Reads what the publisher of the same face puts into the work queue."""
    (pattern,) = intents.raw.filter(capability=new_intent(face, "any").capability).patterns
    return replace(consumers.admission, name=f"raw-{face}", filters=(pattern,), ack_wait=ACK_WAIT)


def new_intent(face: str, id: str, *, padding: int = 0) -> Any:
    metadata = {"padding": "x" * padding}
    if face == "async":
        return FsReadV1Intent.new(id=id, domain="chaos", metadata=metadata, params=FsReadV1Params(path="/x"))
    return FsWriteV1Intent.new(id=id, domain="chaos", metadata=metadata, params=FsWriteV1Params(path="/x", content="y" * 100))


EXECUTOR: Final = replace(consumers.executor_fs_read, ack_wait=1.5)

CHAOS: Final = replace(
    CONTRACT,
    streams=tuple(CONTRACT.stream(name) for name in ("SDLC_RAW", "ATOMS_RESULTS", "ATOMS_VETTED", "SMITH_DLQ")),
    consumers=(*(reader(face) for face in FACES for reader in (results_reader, raw_reader)), EXECUTOR),
    profiles=(Profile(name="single", replicas=1, fit=1 << 30), Profile(name="cluster", replicas=3, fit=1 << 30)),
)


def with_executor_on(retention: Literal["workqueue", "interest", "limits"]) -> Contract:
    """The same, with what the executor reads in a stream of that kind."""
    return replace(
        CHAOS,
        streams=tuple(replace(one, retention=retention) if one.name == EXECUTOR.stream else one for one in CHAOS.streams),
    )
