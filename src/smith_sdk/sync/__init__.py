# generated from smith_sdk/aio by smith_codegen.faces; do not edit
"""The blocking face. The same names as `smith_sdk.aio`, for code without an event loop of its
own.
"""

from typing import TYPE_CHECKING

__all__ = [
    "ActiveRule",
    "ActiveRules",
    "Admission",
    "Alert",
    "AlertMonitor",
    "AlertRule",
    "Allow",
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
    "SmithBus",
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

if TYPE_CHECKING:
    from .admission import Admission, Allow, Decision, Deny, Quarantine, Transform, inline
    from .alerts import Alert, AlertMonitor, AlertRule
    from .answers import ResultCode
    from .backpressure import ActiveRule, ActiveRules, BackPressure, Rule, RuleChanged
    from .bulk import Bulk, BulkResult
    from .bus import SmithBus
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
else:
    # Hidden from type checkers: a module `__getattr__` would make every misspelt name an Any.
    from .._lazy_names import lazy_names as _lazy_names

    __getattr__, __dir__ = _lazy_names(
        __name__,
        {
            "ActiveRule": ".backpressure:ActiveRule",
            "ActiveRules": ".backpressure:ActiveRules",
            "Admission": ".admission:Admission",
            "Alert": ".alerts:Alert",
            "AlertMonitor": ".alerts:AlertMonitor",
            "AlertRule": ".alerts:AlertRule",
            "Allow": ".admission:Allow",
            "BackPressure": ".backpressure:BackPressure",
            "Bulk": ".bulk:Bulk",
            "BulkResult": ".bulk:BulkResult",
            "Caution": ".streams:Caution",
            "Change": ".streams:Change",
            "Check": ".health:Check",
            "Consumer": ".consumer:Consumer",
            "ConsumerInfo": ".consumer:ConsumerInfo",
            "ConsumerLag": ".lag:ConsumerLag",
            "CoreMessages": ".core_messages:CoreMessages",
            "DeadLetter": ".dead_letters:DeadLetter",
            "DeadLetters": ".dead_letters:DeadLetters",
            "Decision": ".admission:Decision",
            "Deny": ".admission:Deny",
            "Difference": ".streams:Difference",
            "DomainUsage": ".domains:DomainUsage",
            "Domains": ".domains:Domains",
            "EndpointCounts": ".service:EndpointCounts",
            "Finding": ".dead_letters:Finding",
            "Findings": ".dead_letters:Findings",
            "HaltedKey": ".shards:HaltedKey",
            "HealthReport": ".health:HealthReport",
            "KeyEntry": ".kv:KeyEntry",
            "KeyValue": ".kv:KeyValue",
            "KeyWatch": ".kv:KeyWatch",
            "LagMonitor": ".lag_monitor:LagMonitor",
            "Message": ".message:Message",
            "Messages": ".consumer:Messages",
            "MicroService": ".service:MicroService",
            "Middleware": ".middleware:Middleware",
            "MoveStep": ".domains:MoveStep",
            "ObjectInfo": ".objects:ObjectInfo",
            "ObjectReader": ".objects:ObjectReader",
            "ObjectStore": ".objects:ObjectStore",
            "ObjectWatch": ".objects:ObjectWatch",
            "Outbox": ".outbox:Outbox",
            "OutboxFile": ".outbox:OutboxFile",
            "OutboxInfo": ".outbox:OutboxInfo",
            "OutboxMessage": ".outbox:OutboxMessage",
            "Plan": ".streams:Plan",
            "Publishing": ".publishing:Publishing",
            "Quarantine": ".admission:Quarantine",
            "QuarantineRecord": ".quarantine:QuarantineRecord",
            "QuarantinedIntents": ".quarantine:QuarantinedIntents",
            "ReadMessage": ".read:ReadMessage",
            "Reader": ".read:Reader",
            "ReleaseReport": ".quarantine:ReleaseReport",
            "Released": ".quarantine:Released",
            "ReplayReport": ".dead_letters:ReplayReport",
            "Replayed": ".dead_letters:Replayed",
            "Replica": ".lag:Replica",
            "ReshardPlan": ".shards:ReshardPlan",
            "ResultCode": ".answers:ResultCode",
            "Rule": ".backpressure:Rule",
            "RuleChanged": ".backpressure:RuleChanged",
            "ShardBacklog": ".shards:ShardBacklog",
            "ShardLayout": ".shards:ShardLayout",
            "ShardMember": ".shards:ShardMember",
            "ShardState": ".shards:ShardState",
            "ShardedWorker": ".sharded_worker:ShardedWorker",
            "Shards": ".shards:Shards",
            "SmithBus": ".bus:SmithBus",
            "StateChange": ".states:StateChange",
            "StateChanges": ".states:StateChanges",
            "StreamInfo": ".streams:StreamInfo",
            "StreamUsage": ".lag:StreamUsage",
            "Streams": ".streams:Streams",
            "Subscription": ".subscription:Subscription",
            "Trace": ".trace:Trace",
            "TraceStep": ".trace:TraceStep",
            "Transform": ".admission:Transform",
            "Worker": ".worker:Worker",
            "WorkerReport": ".workers:WorkerReport",
            "WorkerStats": ".worker:WorkerStats",
            "inline": ".admission:inline",
            "result_of": ".execute:result_of",
        },
    )
