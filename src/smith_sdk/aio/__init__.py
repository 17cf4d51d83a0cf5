"""The async face, written by hand.

May import `_core`, `contract`, generated code, `errors` and `options`; not `sync`, which is
generated from the signatures here: an `async def` becomes a blocking call, one that returns an
`asyncio.Future` a pipelined call, a `def` that returns `Coroutine[Any, Any, None]` a call that is
not waited for, a class with `_batch` an iterator.
"""

from .admission import Admission, Allow, Decision, Deny, Quarantine, Transform, inline
from .alerts import Alert, AlertMonitor, AlertRule
from .answers import ResultCode
from .backpressure import ActiveRule, ActiveRules, BackPressure, Rule, RuleChanged
from .bulk import Bulk, BulkResult
from .bus import AsyncSmithBus
from .consumer import Consumer, ConsumerInfo, Messages
from .core_messages import CoreMessages
from .dead_letters import DeadLetter, DeadLetters, Finding, Findings, Replayed, ReplayReport
from .domains import Domains, DomainUsage, MoveStep
from .execute import result_of
from .health import Check, HealthReport
from .kv import KeyEntry, KeyValue, KeyWatch
from .lag import ConsumerLag, Replica, StreamUsage
from .lag_monitor import LagMonitor
from .message import Message
from .middleware import Middleware
from .objects import ObjectInfo, ObjectReader, ObjectStore, ObjectWatch
from .outbox import Outbox, OutboxFile, OutboxInfo, OutboxMessage
from .publishing import Publishing
from .quarantine import QuarantinedIntents, QuarantineRecord, Released, ReleaseReport
from .read import Reader, ReadMessage
from .service import EndpointCounts, MicroService
from .sharded_worker import ShardedWorker
from .shards import HaltedKey, ReshardPlan, ShardBacklog, ShardLayout, ShardMember, Shards, ShardState
from .states import StateChange, StateChanges
from .streams import Caution, Change, Difference, Plan, StreamInfo, Streams
from .subscription import Subscription
from .trace import Trace, TraceStep
from .worker import Worker, WorkerStats
from .workers import WorkerReport

__all__ = [
    "ActiveRule",
    "ActiveRules",
    "Admission",
    "Alert",
    "AlertMonitor",
    "AlertRule",
    "Allow",
    "AsyncSmithBus",
    "BackPressure",
    "Bulk",
    "BulkResult",
    "Caution",
    "Change",
    "Check",
    "Consumer",
    "ConsumerInfo",
    "ConsumerLag",
    "CoreMessages",
    "DeadLetter",
    "DeadLetters",
    "Decision",
    "Deny",
    "Difference",
    "DomainUsage",
    "Domains",
    "EndpointCounts",
    "Finding",
    "Findings",
    "HaltedKey",
    "HealthReport",
    "KeyEntry",
    "KeyValue",
    "KeyWatch",
    "LagMonitor",
    "Message",
    "Messages",
    "MicroService",
    "Middleware",
    "MoveStep",
    "ObjectInfo",
    "ObjectReader",
    "ObjectStore",
    "ObjectWatch",
    "Outbox",
    "OutboxFile",
    "OutboxInfo",
    "OutboxMessage",
    "Plan",
    "Publishing",
    "Quarantine",
    "QuarantineRecord",
    "QuarantinedIntents",
    "ReadMessage",
    "Reader",
    "ReleaseReport",
    "Released",
    "ReplayReport",
    "Replayed",
    "Replica",
    "ReshardPlan",
    "ResultCode",
    "Rule",
    "RuleChanged",
    "ShardBacklog",
    "ShardLayout",
    "ShardMember",
    "ShardState",
    "ShardedWorker",
    "Shards",
    "StateChange",
    "StateChanges",
    "StreamInfo",
    "StreamUsage",
    "Streams",
    "Subscription",
    "Trace",
    "TraceStep",
    "Transform",
    "Worker",
    "WorkerReport",
    "WorkerStats",
    "inline",
    "result_of",
]
