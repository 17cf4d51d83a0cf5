"""smith-sdk: the typed Python SDK for the Smith bus.

`AsyncSmithBus` and the other classes here are the async face. The blocking face is `SmithBus`, with
the same classes in `smith_sdk.sync`. Each name is imported when it is first used, so that a script
loads only what it needs.
"""

TYPE_CHECKING = False  # as `typing` has it; its import takes half as long as Python's own start

__version__ = "0.1.0"
"""The release, as PyPI has it. Its only home: the build reads it from here."""

__all__ = [
    "Admission",
    "Alert",
    "AlertMonitor",
    "AlertRule",
    "Allow",
    "AsyncSmithBus",
    "Auth",
    "BackPressure",
    "Backoff",
    "BulkResult",
    "Check",
    "CircuitBreaker",
    "CircuitOpen",
    "Consumer",
    "ConsumerLag",
    "DeadLetter",
    "Decision",
    "Deny",
    "DomainUsage",
    "Envelope",
    "HealthReport",
    "LagMonitor",
    "Message",
    "MicroService",
    "Middleware",
    "MoveStep",
    "Once",
    "OutboxFile",
    "PubAck",
    "Quarantine",
    "RateLimit",
    "Reject",
    "ResultCode",
    "RetryLater",
    "RetryPolicy",
    "Rule",
    "Shard",
    "ShardKey",
    "ShardedWorker",
    "Shards",
    "SmithBus",
    "SmithError",
    "Stored",
    "TLSFiles",
    "Transform",
    "Trust",
    "Worker",
    "consumers",
    "inline",
    "result_of",
    "sharding",
    "subjects",
]

if TYPE_CHECKING:
    from . import sharding as sharding
    from . import subjects as subjects
    from ._core.jetstream.bulk_result import BulkResult
    from ._core.jetstream.publish_request import PubAck, Stored
    from ._core.monitoring.breaker import CircuitBreaker
    from .aio import (
        Admission,
        Alert,
        AlertMonitor,
        AlertRule,
        Allow,
        AsyncSmithBus,
        BackPressure,
        Check,
        Consumer,
        ConsumerLag,
        DeadLetter,
        Decision,
        Deny,
        DomainUsage,
        HealthReport,
        LagMonitor,
        Message,
        MicroService,
        Middleware,
        MoveStep,
        OutboxFile,
        Quarantine,
        ResultCode,
        Rule,
        ShardedWorker,
        Shards,
        Transform,
        Worker,
        inline,
        result_of,
    )
    from .contract import Envelope, Shard, ShardKey
    from .errors import CircuitOpen, Reject, RetryLater, SmithError
    from .options import Auth, Backoff, Once, RateLimit, RetryPolicy, TLSFiles
    from .sync import SmithBus
    from .topology import consumers
    from .trust import Trust
else:
    # Hidden from type checkers: a module `__getattr__` would make every misspelt name an Any.
    from ._lazy_names import lazy_names as _lazy_names

    __getattr__, __dir__ = _lazy_names(
        __name__,
        {
            "Admission": ".aio:Admission",
            "Alert": ".aio:Alert",
            "AlertMonitor": ".aio:AlertMonitor",
            "AlertRule": ".aio:AlertRule",
            "Allow": ".aio:Allow",
            "AsyncSmithBus": ".aio:AsyncSmithBus",
            "Auth": ".options:Auth",
            "BackPressure": ".aio:BackPressure",
            "Backoff": ".options:Backoff",
            "BulkResult": "._core.jetstream.bulk_result:BulkResult",
            "Check": ".aio:Check",
            "CircuitBreaker": "._core.monitoring.breaker:CircuitBreaker",
            "CircuitOpen": ".errors:CircuitOpen",
            "Consumer": ".aio:Consumer",
            "ConsumerLag": ".aio:ConsumerLag",
            "DeadLetter": ".aio:DeadLetter",
            "Decision": ".aio:Decision",
            "Deny": ".aio:Deny",
            "DomainUsage": ".aio:DomainUsage",
            "Envelope": ".contract:Envelope",
            "HealthReport": ".aio:HealthReport",
            "LagMonitor": ".aio:LagMonitor",
            "Message": ".aio:Message",
            "Middleware": ".aio:Middleware",
            "MoveStep": ".aio:MoveStep",
            "Once": ".options:Once",
            "OutboxFile": "._core.outbox.records:OutboxFile",
            "PubAck": "._core.jetstream.publish_request:PubAck",
            "Quarantine": ".aio:Quarantine",
            "RateLimit": ".options:RateLimit",
            "Reject": ".errors:Reject",
            "ResultCode": ".aio:ResultCode",
            "RetryLater": ".errors:RetryLater",
            "RetryPolicy": ".options:RetryPolicy",
            "Rule": ".aio:Rule",
            "MicroService": ".aio:MicroService",
            "Shard": ".contract:Shard",
            "ShardKey": ".contract:ShardKey",
            "Shards": ".aio:Shards",
            "ShardedWorker": ".aio:ShardedWorker",
            "SmithBus": ".sync:SmithBus",
            "SmithError": ".errors:SmithError",
            "Stored": "._core.jetstream.publish_request:Stored",
            "TLSFiles": ".options:TLSFiles",
            "Transform": ".aio:Transform",
            "Trust": ".trust:Trust",
            "Worker": ".aio:Worker",
            "consumers": ".topology:consumers",
            "inline": ".aio:inline",
            "result_of": ".aio:result_of",
            "sharding": ".sharding",
            "subjects": ".subjects",
        },
    )
