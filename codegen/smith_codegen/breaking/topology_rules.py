"""The rules of `[streams]`, `[consumers]`, `[domains]`, `[profiles]` and `[sharding]`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from .rule import ANY, APPLY, BESIDE, PUBLISHERS, READERS, Effect, Rule, change, code, flag, limit, nothing, on_apply, part

_DOC: Final = nothing("words for people")
_MOVED: Final = Effect("moved to another package", "source", ANY, "imports fail")
_EVICTED: Final = "the server deletes what no longer fits, also what no consumer has read"
_DRAIN: Final = "let the consumers catch up, or back up the stream: `smith streams apply` deletes what no longer fits"
_ALLOWED: Final = flag(
    dropped=Effect(
        "", "wire", PUBLISHERS, "publishers and readers that use it are refused", "deploy what uses it without, then apply"
    )
)
_RECREATED: Final = "the server refuses the change: recreate it under another name, move programs over, then delete the old one"
_FETCH: Final = on_apply(
    "the server refuses older workers that ask for more (409)", "deploy workers that ask for less, then apply"
)
_AGE: Final = limit(on_apply("the server deletes older messages, also what no consumer has read", _DRAIN), none=(0,))
_EVICTS: Final = limit(on_apply(_EVICTED, _DRAIN), none=(0, -1))
_SIZES: Final = Rule(
    "code",
    (
        Effect("lowered, with discard old", "consumer", APPLY, _EVICTED, _DRAIN),
        Effect(
            "lowered, with discard new",
            "wire",
            APPLY,
            "the server refuses to store more, earlier than before",
            "see that consumers keep up, and that publishers handle QueueFull: a full stream will refuse their messages",
        ),
    ),
    none=(0, -1),
)
_MESSAGE_SIZE: Final = limit(
    Effect(
        "",
        "wire",
        PUBLISHERS,
        "the server refuses larger messages",
        "deploy publishers that send no larger ones, then apply: the server refuses them",
    ),
    none=(0, -1),
)
_WINDOW: Final = limit(
    on_apply(
        "a publish that is retried later than that is stored twice",
        "see that publishers retry for less time than the window: else messages are stored twice",
    ),
    usual=120.0,
    none=(0,),
)
_ATTEMPTS: Final = limit(
    on_apply(
        "messages are dead-lettered after fewer attempts",
        "see that retries span the outages you expect: later ones dead-letter the message",
    ),
    none=(-1,),
)
_FILTER: Final = code(
    Effect(
        "narrowed",
        "consumer",
        APPLY,
        "messages no longer reach its workers",
        "declare another consumer for the messages that it no longer receives, and deploy its workers first",
    ),
    Effect("widened", "consumer", READERS, "older workers receive messages that they have no handler for"),
)
_SHARDED: Final = Effect("changed", "wire", BESIDE, "shards move", "see docs/howto/sharding.md: reshard on the running server")
_FLOW: Final = code(Effect("changed, or removed", "wire", BESIDE, "its messages no longer come the same way"))

TOPOLOGY: Final[Mapping[str, Rule]] = {
    # ---- [streams]
    "StreamDecl": code(
        Effect(
            "removed",
            "wire",
            PUBLISHERS,
            "its messages are lost",
            "deploy all publishers, let what is stored be read, then delete it on the server",
        ),
        Effect(
            "renamed",
            "wire",
            BESIDE,
            "its messages stay in the old stream",
            "let consumers of the old stream drain it while publishers move over, then delete it: a stream has one name for life",
        ),
    ),
    "StreamDecl.subjects": code(
        Effect(
            "narrowed",
            "wire",
            BESIDE,
            "no stream stores it: the server refuses to publish it",
            "let all that publish there move over first: what no stream captures fails to publish",
        )
    ),
    "StreamDecl.external": nothing("says only to whom the subjects belong"),
    "StreamDecl.retention": code(
        Effect(
            "changed",
            "wire",
            BESIDE,
            "messages are kept for other readers, and for another time",
            "the server refuses most such changes: recreate it as another stream beside the old one, and move programs over",
        )
    ),
    "StreamDecl.discard": code(
        Effect(
            "new instead of old",
            "wire",
            APPLY,
            "a full stream refuses what publishers send",
            "see that publishers handle QueueFull before `smith streams apply`: a full stream will refuse their messages",
        ),
        Effect(
            "old instead of new",
            "consumer",
            APPLY,
            "a full stream deletes its oldest messages, also what no consumer has read",
            "see that consumers keep up before `smith streams apply`: a full stream deletes what is oldest",
        ),
    ),
    "StreamDecl.storage": change(on_apply("messages are kept elsewhere", _RECREATED), usual="file"),
    "StreamDecl.max_age": _AGE,
    "StreamDecl.max_bytes": _SIZES,
    "StreamDecl.max_msgs": _SIZES,
    "StreamDecl.max_msg_size": _MESSAGE_SIZE,
    "StreamDecl.duplicate_window": _WINDOW,
    "StreamDecl.allow_direct": _ALLOWED,
    "StreamDecl.deny_delete": flag(
        given=on_apply(
            "programs that delete single messages are refused", "deploy programs that do not, then apply; it cannot be undone"
        )
    ),
    "StreamDecl.deny_purge": flag(
        given=on_apply("programs that purge it are refused", "deploy programs that do not, then apply; it cannot be undone")
    ),
    "StreamDecl.max_msgs_per_subject": _EVICTS,
    "StreamDecl.discard_new_per_subject": flag(
        given=on_apply(
            "a subject that is full refuses what publishers send",
            "see that publishers handle QueueFull before `smith streams apply`",
            "wire",
        )
    ),
    "StreamDecl.max_consumers": limit(on_apply("the server refuses to create more consumers", _RECREATED), none=(0, -1)),
    "StreamDecl.first_seq": nothing("has a meaning only when the stream is created"),
    "StreamDecl.compression": nothing("the server's own matter: programs read the same"),
    "StreamDecl.persist_mode": change(on_apply("messages that were acknowledged can be lost if the server crashes", _RECREATED)),
    "StreamDecl.placement": nothing("where the server keeps it: programs read the same"),
    "StreamDecl.allow_rollup_hdrs": _ALLOWED,
    "StreamDecl.allow_msg_ttl": _ALLOWED,
    "StreamDecl.subject_delete_marker_ttl": nothing("how long markers stay: programs read the same messages"),
    "StreamDecl.allow_atomic": _ALLOWED,
    "StreamDecl.allow_batched": _ALLOWED,
    "StreamDecl.allow_msg_schedules": _ALLOWED,
    "StreamDecl.allow_msg_counter": _ALLOWED,
    "StreamDecl.republish": _FLOW,
    "StreamDecl.subject_transform": code(Effect("changed", "wire", BESIDE, "messages are stored under other subjects")),
    "StreamDecl.mirror": _FLOW,
    "StreamDecl.sources": _FLOW,
    "StreamDecl.consumer_limits": part("its keys"),
    "StreamDecl.metadata": _DOC,
    "ConsumerLimitsDecl.max_ack_pending": limit(
        on_apply("the server refuses consumers that may have more in flight", "lower it in the consumers first"), none=(0, -1)
    ),
    "ConsumerLimitsDecl.inactive_threshold": limit(
        on_apply("the server refuses consumers that stay for longer", "lower it in the consumers first"), none=(0,)
    ),
    "PlacementDecl.cluster": part("placement"),
    "PlacementDecl.tags": part("placement"),
    "TransformDecl.src": part("subject_transform"),
    "TransformDecl.dest": part("subject_transform"),
    "RepublishDecl.src": part("republish"),
    "RepublishDecl.dest": part("republish"),
    "RepublishDecl.headers_only": part("republish"),
    "ExternalDecl.api": part("mirror"),
    "ExternalDecl.deliver": part("mirror"),
    "OriginDecl.name": part("mirror"),
    "OriginDecl.filter_subject": part("mirror"),
    "OriginDecl.opt_start_seq": part("mirror"),
    "OriginDecl.opt_start_time": part("mirror"),
    "OriginDecl.external": part("mirror"),
    "OriginDecl.subject_transforms": part("mirror"),
    # ---- [consumers]
    "ConsumerDecl": code(
        Effect("removed", "source", ANY, "code that uses it fails", "stop its workers, then delete the durable on the server"),
        Effect(
            "renamed",
            "consumer",
            APPLY,
            "it is another durable: it begins by its deliver_policy, and the old one stays with what it has not read",
            "let the old durable catch up, stop its workers, delete it, then apply and start the new ones",
        ),
        _MOVED,
    ),
    "ConsumerDecl.stream": code(Effect("changed", "consumer", READERS, "its workers receive other messages")),
    "ConsumerDecl.ack_wait": limit(
        on_apply(
            "a message that is in flight for longer is delivered again",
            "see that handlers are faster, or extend it (`in_progress`): a message in flight for longer is delivered again",
        ),
        none=(0,),
    ),
    "ConsumerDecl.max_attempts": _ATTEMPTS,
    "ConsumerDecl.max_ack_pending": nothing("fewer in flight at once: slower, and no message is lost"),
    "ConsumerDecl.prefetch": nothing("how far a worker reads ahead"),
    "ConsumerDecl.filter": _FILTER,
    "ConsumerDecl.filters": _FILTER,
    "ConsumerDecl.publishes": nothing("what its handlers may publish: see `smith-codegen permissions`"),
    "ConsumerDecl.deliver_policy": change(on_apply("a new durable begins elsewhere", _RECREATED), usual="all"),
    "ConsumerDecl.opt_start_seq": change(on_apply("a new durable begins elsewhere", _RECREATED)),
    "ConsumerDecl.opt_start_time": change(on_apply("a new durable begins elsewhere", _RECREATED)),
    "ConsumerDecl.max_waiting": limit(
        on_apply("the server refuses more pull requests at a time (409)", "run fewer workers on it, then apply"),
        usual=512,
        none=(0,),
    ),
    "ConsumerDecl.max_batch": limit(_FETCH, none=(0,)),
    "ConsumerDecl.max_bytes": limit(_FETCH, none=(0,)),
    "ConsumerDecl.max_expires": limit(_FETCH, none=(0,)),
    "ConsumerDecl.inactive_threshold": limit(
        on_apply(
            "the server deletes the durable, and where it was, after less time without workers",
            "see that workers are never away for so long",
        ),
        none=(0,),
    ),
    "ConsumerDecl.replicas": nothing("how many servers know its state: programs read the same"),
    "ConsumerDecl.mem_storage": flag(
        given=on_apply(
            "its state is lost when the server restarts, and messages are delivered again", "see that handlers are idempotent"
        )
    ),
    "ConsumerDecl.sample_freq": nothing("how many acks are also reported to monitoring"),
    "ConsumerDecl.priority_policy": change(
        on_apply(
            "the server refuses older workers, which pull in another way",
            "deploy the workers together with `smith streams apply`",
        )
    ),
    "ConsumerDecl.priority_groups": change(
        on_apply(
            "the server refuses workers of groups that it does not know", "deploy the workers together with `smith streams apply`"
        ),
        usual=(),
    ),
    "ConsumerDecl.priority_timeout": nothing("when another worker takes over: no message is lost"),
    "ConsumerDecl.pause_until": nothing("messages wait until then"),
    "ConsumerDecl.metadata": _DOC,
    # ---- [domains]
    "DomainsDecl": code(
        Effect(
            "a consumer is not declared any more",
            "consumer",
            READERS,
            "its domains belong to another one",
            "run `smith domains move`, which loses no message",
        )
    ),
    "DomainsDecl.domains": part("the consumers that it declares"),
    "DomainsDecl.consumers": part("the consumers that it declares"),
    "DomainsDecl.beside_any_domain": part("the consumers that it declares"),
    # ---- [profiles]
    "ProfileDecl": code(Effect("removed", "source", ANY, "code and commands that name it fail")),
    "ProfileDecl.replicas": nothing("how many servers keep a copy: programs read the same"),
    "ProfileDecl.fit": limit(on_apply(f"all sizes shrink with it: {_EVICTED}", _DRAIN)),
    "ProfileDecl.ages": limit(on_apply("all ages shrink with it: the server deletes older messages", _DRAIN)),
    "ProfileDecl.streams": part("its keys"),
    "OverrideDecl.replicas": nothing("how many servers keep a copy: programs read the same"),
    "OverrideDecl.storage": change(on_apply("messages are kept elsewhere", _RECREATED)),
    "OverrideDecl.compression": nothing("the server's own matter: programs read the same"),
    "OverrideDecl.placement": nothing("where the server keeps it: programs read the same"),
    "OverrideDecl.max_age": _AGE,
    "OverrideDecl.max_bytes": _SIZES,
    "OverrideDecl.max_msgs": _SIZES,
    "OverrideDecl.max_msgs_per_subject": _EVICTS,
    "OverrideDecl.max_msg_size": _MESSAGE_SIZE,
    "OverrideDecl.duplicate_window": _WINDOW,
    # ---- [sharding]
    "ShardingDecl": code(
        Effect("new on a subject in use", "wire", READERS, "newer publishers send to shards, which older programs do not read"),
        Effect("removed", "wire", PUBLISHERS, "messages go to the plain subject, whose consumers do not keep their order"),
        Effect("renamed", "wire", BESIDE, "its durables and its keys in the bucket are others"),
    ),
    "ShardingDecl.subject": code(_SHARDED),
    "ShardingDecl.shards": code(_SHARDED),
    "ShardingDecl.key": code(_SHARDED),
    "ShardingDecl.generation": code(_SHARDED),
    "ShardingDecl.streams": code(_SHARDED),
    "ShardingDecl.reads": part("its entries"),
    "ReadDecl": code(Effect("changed, or removed", "wire", PUBLISHERS, "what others publish there is not read")),
    "ShardingDecl.bucket": code(_SHARDED),
    "ShardingDecl.pin_timeout": nothing("when another member takes over a shard: no message is lost"),
    "ShardingDecl.max_ack_pending": nothing("fewer in flight at once: slower, and no message is lost"),
    "ShardingDecl.max_attempts": _ATTEMPTS,
    "ShardingDecl.prefetch": nothing("how far a worker reads ahead"),
    "ShardingDecl.publishes": nothing("what its handlers may publish: see `smith-codegen permissions`"),
    "ReadDecl.pattern": part("reads"),
    "ReadDecl.shards": part("reads"),
}
