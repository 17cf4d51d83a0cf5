"""Every error that smith-sdk raises, in one tree.

    SmithError
    ├── OptionsError                an option has an invalid value (also a ValueError)
    ├── ContractError               code and contract do not match
    │   ├── ContractVersionError    generated code for another ABI, or a broken registry
    │   ├── InvalidToken            not a valid token of a subject (also a ValueError)
    │   ├── UnknownSubject          a subject that no pattern matches (also a ValueError)
    │   ├── SubjectMismatch         not a subject of this contract (also a TypeError)
    │   ├── PayloadMismatch         not the payload of this subject (also a TypeError)
    │   ├── InvalidShardKey         not a str of 1 to 256 bytes (also a ValueError)
    │   └── PayloadDecodeError      bytes that are not a valid payload (also a ValueError)
    │       └── UnknownValue        valid but for a value that this contract does not know
    ├── BusError                    the server, or the connection to it
    │   ├── ConnectError            no server could be reached in time
    │   ├── AuthenticationError     the server refused the credentials
    │   ├── PermissionDenied        the server's permissions forbid a subject
    │   ├── ConnectionLost          the connection was lost during a call that cannot be repeated
    │   └── BusClosed               the bus is not connected, closing or closed
    ├── DeadlineExceeded            a call took longer than its timeout (also a TimeoutError)
    │   └── ResultTimeout           no IntentResult arrived in time
    ├── RequestError                a request was not answered with its reply
    │   ├── NoResponders            no service listens on its subject
    │   ├── RequestTimeout          no reply arrived in time (also a DeadlineExceeded)
    │   └── ServiceError            the service answered with an error; see `code`
    ├── JetStreamError              the server refused a JetStream request, with its err_code
    │   ├── JetStreamDisabled
    │   ├── StreamNotFound
    │   ├── ConsumerNotFound
    │   ├── MessageNotFound
    │   ├── BulkError               a bulk was not stored as a whole; says where to go on
    │   ├── TopologyRefused         the server refused a stream or consumer as declared
    │   │   ├── AlreadyExists       one of that name exists with another configuration
    │   │   ├── SubjectOverlap      another stream, or consumer of a work queue, has these subjects
    │   │   ├── NotEnoughRoom       storage, servers or limits of the account do not suffice
    │   │   └── ChangeRefused       the server does not make this change in place
    │   └── PublishError            one message was not stored
    │       ├── QueueFull
    │       ├── PayloadTooLarge
    │       ├── WrongStream
    │       ├── WrongSequence
    │       ├── NoInterest
    │       └── PublishUnconfirmed  no acknowledgement; `may_be_stored` says what is possible
    ├── BucketError                 a key-value bucket or an object store
    │   ├── KeyExists               the key to create has a value already
    │   ├── WrongRevision           the key was written since
    │   ├── ObjectNotFound
    │   └── ObjectCorrupt           its bytes are not those that were stored
    ├── PublishManyError            some of many messages were not stored
    ├── TopologyDrift               the server's streams differ from the contract's
    ├── PlanOutdated                the server's streams have changed since the plan was made
    ├── MessagesStranded            stored messages would have no reader any more
    ├── OutboxError                 the local file of an outbox could not be read or written
    │   ├── OutboxFull              it has no room for another message
    │   └── OutboxInUse             another bus has it open
    ├── NotAcknowledgeable          an ack, nak or term of a message that cannot have one
    ├── CircuitOpen                 a circuit breaker refused a call; it was not made
    │   └── PublishCircuitOpen      that of a stream refused a publish (also a PublishError)
    ├── HandlerTimeout              a handler exceeded its timeout (also a TimeoutError)
    ├── HandlerProcessDied          a process of a worker ended while it ran a handler
    ├── MemberNameTaken             two processes have one name in a sharding
    ├── NoFence                     a fence of a message that no sharded worker handles
    ├── ShardLost                   the message belongs to a shard that another process owns by now
    ├── SlowConsumer                a core subscription fell behind and lost messages
    ├── SignatureError              not validly signed; see `reason` (also a ValueError)
    ├── SigningNotInstalled
    ├── TelemetryNotInstalled
    ├── WebSocketNotInstalled
    ├── ServerError                 the embedded nats-server
    │   ├── ServerNotInstalled
    │   └── ServerStartError
    └── BlockingCallError           a call from where it cannot work (also a RuntimeError)

`Reject` and `RetryLater` are not errors: a handler raises them to decide about its message.

Every message says what to do next. The facts are attributes: `subject`, `stream`, `consumer`,
`seq`, `err_code`. No message, attribute or repr holds a credential: URLs are shown without user
and password.

One module holds one family of errors; none imports anything else of the SDK.
"""

from ._base import OptionsError, SmithError
from ._buckets import BucketError, KeyExists, ObjectCorrupt, ObjectNotFound, WrongRevision
from ._connection import (
    AuthenticationError,
    BusClosed,
    BusError,
    ConnectError,
    ConnectionLost,
    DeadlineExceeded,
    PermissionDenied,
    ResultTimeout,
)
from ._connection import IntentState as IntentState
from ._contract import (
    ContractError,
    ContractVersionError,
    InvalidShardKey,
    InvalidToken,
    PayloadDecodeError,
    PayloadMismatch,
    SubjectMismatch,
    UnknownSubject,
    UnknownValue,
)
from ._jetstream import (
    AlreadyExists,
    BulkError,
    ChangeRefused,
    ConsumerNotFound,
    JetStreamDisabled,
    JetStreamError,
    MessageNotFound,
    MessagesStranded,
    NoInterest,
    NotEnoughRoom,
    PayloadTooLarge,
    PlanOutdated,
    PublishError,
    PublishManyError,
    PublishUnconfirmed,
    QueueFull,
    StreamNotFound,
    SubjectOverlap,
    TopologyDrift,
    TopologyRefused,
    WrongSequence,
    WrongStream,
)
from ._outbox import OutboxError, OutboxFull, OutboxInUse
from ._requests import NoResponders, RequestError, RequestTimeout, ServiceError
from ._resilience import CircuitOpen, PublishCircuitOpen
from ._work import (
    BlockingCallError,
    HandlerProcessDied,
    HandlerTimeout,
    MemberNameTaken,
    NoFence,
    NotAcknowledgeable,
    Reject,
    RetryLater,
    ServerError,
    ServerNotInstalled,
    ServerStartError,
    ShardLost,
    SignatureError,
    SigningNotInstalled,
    SlowConsumer,
    TelemetryNotInstalled,
    WebSocketNotInstalled,
)

__all__ = [
    "AlreadyExists",
    "AuthenticationError",
    "BlockingCallError",
    "BucketError",
    "BulkError",
    "BusClosed",
    "BusError",
    "ChangeRefused",
    "CircuitOpen",
    "ConnectError",
    "ConnectionLost",
    "ConsumerNotFound",
    "ContractError",
    "ContractVersionError",
    "DeadlineExceeded",
    "HandlerProcessDied",
    "HandlerTimeout",
    "InvalidShardKey",
    "InvalidToken",
    "JetStreamDisabled",
    "JetStreamError",
    "KeyExists",
    "MemberNameTaken",
    "MessageNotFound",
    "MessagesStranded",
    "NoFence",
    "NoInterest",
    "NoResponders",
    "NotAcknowledgeable",
    "NotEnoughRoom",
    "ObjectCorrupt",
    "ObjectNotFound",
    "OptionsError",
    "OutboxError",
    "OutboxFull",
    "OutboxInUse",
    "PayloadDecodeError",
    "PayloadMismatch",
    "PayloadTooLarge",
    "PermissionDenied",
    "PlanOutdated",
    "PublishCircuitOpen",
    "PublishError",
    "PublishManyError",
    "PublishUnconfirmed",
    "QueueFull",
    "Reject",
    "RequestError",
    "RequestTimeout",
    "ResultTimeout",
    "RetryLater",
    "ServerError",
    "ServerNotInstalled",
    "ServerStartError",
    "ServiceError",
    "ShardLost",
    "SignatureError",
    "SigningNotInstalled",
    "SlowConsumer",
    "SmithError",
    "StreamNotFound",
    "SubjectMismatch",
    "SubjectOverlap",
    "TelemetryNotInstalled",
    "TopologyDrift",
    "TopologyRefused",
    "UnknownSubject",
    "UnknownValue",
    "WebSocketNotInstalled",
    "WrongRevision",
    "WrongSequence",
    "WrongStream",
]

for _name in __all__:
    # Users and pickles know an error by this package, not by the module of its family.
    globals()[_name].__module__ = __name__
