"""Edits of a small spec, each classified by hand: what it breaks, under which key, and in which
order to deploy it.

They were written down before `breaking` was made to agree with them, so that they test the rules
and not the code.
"""

from __future__ import annotations

from typing import NamedTuple


class Edit(NamedTuple):
    """`edits` are (text, instead of it) pairs in `BREW`; `finds` is what is reported, each as
    "kind key (order)", with a word of its remedy."""

    name: str
    edits: tuple[tuple[str, str], ...]
    finds: tuple[tuple[str, str], ...] = ()


BREW = """
[spec]
name = "brew"
version = 1
root = "brew"
package = "brew_bus"

[tokens]
batch_id = { newtype = "BatchId" }
shelf = { newtype = "Shelf", base = "int", format = "02x", min = 0, max = 15 }
grade = { enum = ["low", "high"] }
kind = { enum = ["ale.v1", "stout.v1"] }

[messages.Batch]
id = "batch_id"
max_items = 1000
fields.batch_id = { type = "BatchId", new = "uuid7" }
fields.litres = { type = "int", min = 1, max = 100 }
fields.note = "str?"
fields.state = { type = "enum:open|shut", reads = { closed = "shut" } }
fields.hops = { type = "int", default = 3 }
fields.malts = "list[Malt]"

[messages.Malt]
fields = { name = "str", share = "float" }

[messages.Sealed]
fields.body = "str"
fields.signer = { type = "str", default = "" }
fields.signature_b64 = { type = "str", default = "" }

[messages.Order]
by = "kind"
fields = { id = "BatchId" }
params."ale.v1" = { size = "int" }
params."stout.v1" = {}

[subjects]
"batches" = { pattern = "brew.batches.{shelf}.{batch_id}", message = "Batch", stream = "BREW" }
"graded" = { pattern = "brew.graded.{grade}", message = "Batch", stream = "GRADED" }
"orders" = { pattern = "brew.orders.{kind}", message = "Order", stream = "ORDERS" }
"seals" = { pattern = "brew.sealed", message = "Sealed", stream = "GRADED" }
"tick" = { pattern = "brew.tick", message = "Malt" }

[streams.BREW]
subjects = ["brew.batches.>"]
retention = "workqueue"
discard = "new"
max_bytes = "64MiB"
duplicate_window = "2m"

[streams.GRADED]
subjects = ["brew.graded.*", "brew.sealed"]
max_age = "7d"
max_bytes = "64MiB"
max_msgs = 10000
max_msg_size = "64KiB"

[streams.ORDERS]
subjects = ["brew.orders.>"]
retention = "interest"

[consumers.shopper]
stream = "ORDERS"
ack_wait = "30s"
max_attempts = 5
max_ack_pending = 1000
prefetch = 50

[consumers.brewer]
stream = "BREW"
ack_wait = "30s"
max_attempts = 5
max_ack_pending = 1000
prefetch = 50

[consumers.taker]
stream = "GRADED"
filters = [{ subject = "graded" }]
ack_wait = "30s"
max_attempts = 5
max_ack_pending = 1000
prefetch = 50
"""

BATCH = "messages.Batch.fields"
HOPS = 'fields.hops = { type = "int", default = 3 }'
LITRES = 'fields.litres = { type = "int", min = 1, max = 100 }'
TICK = '"tick" = { pattern = "brew.tick", message = "Malt" }'
SEALS = '"seals" = { pattern = "brew.sealed", message = "Sealed", stream = "GRADED" }'

# Kinds. wire: programs of both versions, running at the same time, fail or lose messages whatever
# they send. consumer: what the older readers were written for no longer holds - they refuse a new
# value, or messages no longer reach them as before. source: only code that is checked against
# the new version fails.
EDITS = (
    # ---- fields
    Edit("an optional field is added", ((HOPS, f'{HOPS}\nfields.more = "str?"'),)),
    Edit("a field with a default is added", ((HOPS, f'{HOPS}\nfields.more = {{ type = "int", default = 0 }}'),)),
    Edit(
        "a required field is added",
        ((HOPS, f'{HOPS}\nfields.more = "bool"'),),
        ((f"wire {BATCH}.more (publishers first)", "default"),),
    ),
    Edit(
        "a required field is removed",
        (('fields.malts = "list[Malt]"\n', ""),),
        ((f"wire {BATCH}.malts (readers first)", "optional"),),
    ),
    Edit(
        "an optional field is removed",
        (('fields.note = "str?"\n', ""),),
        ((f"wire {BATCH}.note (readers first)", "deploy all readers"),),
    ),
    Edit(
        "a field becomes another type",
        (('name = "str", share', 'name = "int", share'),),
        (("wire messages.Malt.fields.name (side by side)", "beside"),),
    ),
    Edit(
        "an int becomes a float",
        ((HOPS, HOPS.replace('"int"', '"float"')),),
        ((f"wire {BATCH}.hops (readers first)", "deploy all readers"),),
    ),
    Edit("the items of a list change", (("list[Malt]", "list[str]"),), ((f"wire {BATCH}.malts (side by side)", "beside"),)),
    Edit(
        "a field may be null",
        (('{ name = "str"', '{ name = "str?"'),),
        (("consumer messages.Malt.fields.name (readers first)", "deploy all readers"),),
    ),
    Edit(
        "an optional field is required",
        (('fields.note = "str?"', 'fields.note = "str"'),),
        ((f"wire {BATCH}.note (publishers first)", "default"),),
    ),
    Edit(
        "a default changes",
        ((HOPS, HOPS.replace("3", "4")),),
        ((f"consumer {BATCH}.hops.default (side by side)", "write the value"),),
    ),
    Edit(
        "a default is dropped", ((HOPS, 'fields.hops = "int"'),), ((f"wire {BATCH}.hops.default (publishers first)", "default"),)
    ),
    Edit(
        "a maximum is lowered",
        ((LITRES, LITRES.replace("100", "50")),),
        ((f"wire {BATCH}.litres.max (publishers first)", "deploy all publishers"),),
    ),
    Edit(
        "a maximum is raised",
        ((LITRES, LITRES.replace("100", "500")),),
        ((f"consumer {BATCH}.litres.max (readers first)", "deploy all readers"),),
    ),
    Edit(
        "a minimum is dropped",
        ((LITRES, LITRES.replace("min = 1, ", "")),),
        ((f"consumer {BATCH}.litres.min (readers first)", "deploy all readers"),),
    ),
    Edit(
        "a minimum is added",
        ((HOPS, HOPS.replace("3", "3, min = 0")),),
        ((f"wire {BATCH}.hops.min (publishers first)", "deploy all publishers"),),
    ),
    Edit(
        "a field has one value more",
        (("enum:open|shut", "enum:open|shut|lost"),),
        ((f"consumer {BATCH}.state (readers first)", "deploy all readers"),),
    ),
    Edit(
        "a field has one value less",
        (
            (', reads = { closed = "shut" }', ""),
            ("enum:open|shut", "enum:open"),
        ),
        ((f"wire {BATCH}.state (publishers first)", "deploy all publishers"),),
    ),
    Edit(
        "a spelling is no longer read",
        ((', reads = { closed = "shut" }', ""),),
        ((f"wire {BATCH}.state.reads (publishers first)", "deploy all publishers"),),
    ),
    Edit("a field is renamed", (("fields.litres", "fields.liters"),), ((f"wire {BATCH}.litres (side by side)", "beside"),)),
    Edit("what .new() fills in changes", (('"BatchId", new = "uuid7"', '"BatchId", new = "uuid4"'),)),
    Edit(
        "a field is added to a signed payload",
        (('fields.body = "str"', 'fields.body = "str"\nfields.more = "str?"'),),
        (("wire messages.Sealed.fields.more (readers first)", "signature"),),
    ),
    # ---- messages
    Edit("a message is documented", (("[messages.Malt]", '[messages.Malt]\ndoc = "Grain."'),)),
    Edit(
        "a message is renamed",
        (("[messages.Malt]", "[messages.Grain]"), ("list[Malt]", "list[Grain]"), ('message = "Malt"', 'message = "Grain"')),
        (("source messages.Malt (any order)", "code"),),
    ),
    Edit(
        "a family has one payload more",
        (
            ('"stout.v1"]', '"stout.v1", "lager.v1"]'),
            ('params."stout.v1" = {}', 'params."stout.v1" = {}\nparams."lager.v1" = {}'),
        ),
        (("consumer tokens.kind.enum (readers first)", "deploy all readers"),),
    ),
    Edit(
        "a family has one payload less",
        ((', "stout.v1"]', "]"), ('params."stout.v1" = {}', "")),
        (("wire tokens.kind.enum (publishers first)", "deploy all publishers"),),
    ),
    Edit(
        "a message may have fewer items",
        (("max_items = 1000", "max_items = 500"),),
        (("wire messages.Batch.max_items (publishers first)", "deploy all publishers"),),
    ),
    Edit(
        "a message may be less deep",
        (("[messages.Malt]", "[messages.Malt]\nmax_depth = 20"),),
        (("wire messages.Malt.max_depth (publishers first)", "deploy all publishers"),),
    ),
    Edit("messages have no id", (('id = "batch_id"\n', ""),), (("wire messages.Batch.id (side by side)", "twice"),)),
    # ---- subjects and tokens
    Edit("a subject is added", ((TICK, TICK + '\n"tock" = { pattern = "brew.tock", message = "Malt" }'),)),
    Edit("a subject is removed", ((TICK, ""),), (("wire subjects.tick (publishers first)", "deploy all publishers"),)),
    Edit("a literal changes", (("brew.tick", "brew.tock"),), (("wire subjects.tick.pattern (side by side)", "beside"),)),
    Edit("a subject is renamed", (('"tick" =', '"beat" ='),), (("source subjects.tick (any order)", "code"),)),
    Edit(
        "a subject has another payload",
        ((TICK, TICK.replace("Malt", "Sealed")),),
        (("wire subjects.tick.message (side by side)", "beside"),),
    ),
    Edit(
        "a subject moves to another stream",
        (
            (SEALS, SEALS.replace('"GRADED"', '"ORDERS"')),
            (', "brew.sealed"', ""),
            ('["brew.orders.>"]', '["brew.orders.>", "brew.sealed"]'),
        ),
        (("wire subjects.seals.stream (side by side)", "beside"),),
    ),
    Edit(
        "a token is renamed",
        (("batch_id =", "brew_id ="), ("{batch_id}", "{brew_id}"), ("fields.brew_id =", "fields.batch_id =")),
        (("source tokens.batch_id (any order)", "code"),),
    ),
    Edit(
        "a token has one value more",
        (('["low", "high"]', '["low", "high", "top"]'),),
        (("consumer tokens.grade.enum (readers first)", "deploy all readers"),),
    ),
    Edit(
        "a token has one value less",
        (('["low", "high"]', '["low"]'),),
        (("wire tokens.grade.enum (publishers first)", "deploy all publishers"),),
    ),
    Edit("a token is written in another way", (('"02x"', '"03d"'),), (("wire tokens.shelf.format (side by side)", "beside"),)),
    Edit(
        "a token's maximum is lowered",
        (("min = 0, max = 15", "min = 0, max = 7"),),
        (("wire tokens.shelf.max (publishers first)", "deploy all publishers"),),
    ),
    # ---- streams
    Edit(
        "a stream is renamed",
        (('stream = "BREW"', 'stream = "BATCHES"'), ("[streams.BREW]", "[streams.BATCHES]")),
        (("wire streams.BREW (side by side)", "move"),),
    ),
    Edit(
        "a stream captures less",
        (('["brew.orders.>"]', '["brew.orders.*.*"]'),),
        (("wire streams.ORDERS.subjects (side by side)", "publish"),),
    ),
    Edit(
        "a stream keeps messages otherwise",
        (('retention = "interest"', 'retention = "limits"'),),
        (("wire streams.ORDERS.retention (side by side)", "recreate"),),
    ),
    Edit(
        "messages are kept for less time",
        (('max_age = "7d"', 'max_age = "1d"'),),
        (("consumer streams.GRADED.max_age (on apply)", "deletes"),),
    ),
    Edit("messages are kept for longer", (('max_age = "7d"', 'max_age = "30d"'),)),
    Edit(
        "a stream holds fewer bytes",
        (('max_age = "7d"\nmax_bytes = "64MiB"', 'max_age = "7d"\nmax_bytes = "1MiB"'),),
        (("consumer streams.GRADED.max_bytes (on apply)", "deletes"),),
    ),
    Edit(
        "a full stream refuses earlier",
        (('discard = "new"\nmax_bytes = "64MiB"', 'discard = "new"\nmax_bytes = "1MiB"'),),
        (("wire streams.BREW.max_bytes (on apply)", "refuse"),),
    ),
    Edit(
        "a stream holds fewer messages",
        (("max_msgs = 10000", "max_msgs = 100"),),
        (("consumer streams.GRADED.max_msgs (on apply)", "deletes"),),
    ),
    Edit(
        "messages must be smaller",
        (('max_msg_size = "64KiB"', 'max_msg_size = "1KiB"'),),
        (("wire streams.GRADED.max_msg_size (publishers first)", "refuse"),),
    ),
    Edit(
        "duplicates are known for less time",
        (('duplicate_window = "2m"', 'duplicate_window = "10s"'),),
        (("consumer streams.BREW.duplicate_window (on apply)", "twice"),),
    ),
    Edit(
        "a full stream drops old messages",
        (('discard = "new"', 'discard = "old"'),),
        (("consumer streams.BREW.discard (on apply)", "deletes"),),
    ),
    Edit(
        "a full stream refuses new messages",
        (('max_age = "7d"', 'max_age = "7d"\ndiscard = "new"'),),
        (("wire streams.GRADED.discard (on apply)", "refuse"),),
    ),
    # ---- consumers
    Edit(
        "a durable is renamed",
        (("[consumers.brewer]", "[consumers.cook]"),),
        (("consumer consumers.brewer (on apply)", "delete"),),
    ),
    Edit(
        "a consumer receives less",
        (('{ subject = "graded" }', '{ subject = "graded", grade = "low" }'),),
        (("consumer consumers.taker.filters (on apply)", "another consumer"),),
    ),
    Edit(
        "a message has fewer attempts",
        (
            (
                '[consumers.brewer]\nstream = "BREW"\nack_wait = "30s"\nmax_attempts = 5',
                '[consumers.brewer]\nstream = "BREW"\nack_wait = "30s"\nmax_attempts = 2',
            ),
        ),
        (("consumer consumers.brewer.max_attempts (on apply)", "dead-letter"),),
    ),
    Edit(
        "a handler has less time",
        (('[consumers.brewer]\nstream = "BREW"\nack_wait = "30s"', '[consumers.brewer]\nstream = "BREW"\nack_wait = "5s"'),),
        (("consumer consumers.brewer.ack_wait (on apply)", "in flight"),),
    ),
)


SHAPES = """
[spec]
name = "shape"
version = 1
root = "shape"
package = "shape_bus"

[enums.Colour]
values = ["red", "blue"]

[enums.Size]
values = ["s", "m"]
open = true

[mixins.Audited]
fields = { by_whom = "str" }

[unions.Shape]
members = ["Circle", "Square"]

[messages.Circle]
mixins = ["Audited"]
rename = "camel"
fields.radius_mm = { type = "decimal", min = "0.5", max = "10" }
fields.colour = "Colour"
fields.size = "Size?"
fields.label = { type = "str", max_length = 20, pattern = "^[a-z]+$" }
fields.made_at = "datetime"
fields.place = { fields = { row = "int" } }
fields.version = { type = "int", const = 2 }
fields.serial = { type = "uint64", max = 18446744073709551615 }

[messages.Square]
mixins = ["Audited"]
forbid_unknown = true
fields.side = "int"
fields.note = "str?"

[messages.Dot]
fields.note = "str?"

[messages.NotFound]
fields.what = "str"

[subjects]
"drawn" = { pattern = "shape.drawn", message = "Shape" }
"get" = { pattern = "shape.get", message = "Dot", reply = "Square", errors = { GONE = "Deleted." } }
"dotted" = { pattern = "shape.dot", message = "Dot" }
"missed" = { pattern = "shape.missed", message = "NotFound" }
"""

CIRCLE = "messages.Circle.fields"

SHAPE_EDITS = (
    Edit(
        "a field has another name and the same key",
        (("fields.radius_mm = {", 'fields.radius = { name = "radiusMm",'),),
        ((f"source {CIRCLE}.radius_mm (any order)", "code"),),
    ),
    Edit(
        "keys are written in another way",
        (('rename = "camel"\n', ""),),
        (
            (f"wire {CIRCLE}.made_at (side by side)", "beside"),
            (f"wire {CIRCLE}.radius_mm (side by side)", "beside"),
            ("wire mixins.Audited.fields.by_whom (side by side)", "beside"),
        ),
    ),
    Edit(
        "a field of a mixin is renamed",
        (("by_whom", "author"),),
        (("wire mixins.Audited.fields.by_whom (side by side)", "beside"),),
    ),
    Edit(
        "a decimal may be larger",
        (('max = "10"', 'max = "100"'),),
        ((f"consumer {CIRCLE}.radius_mm.max (readers first)", "deploy all readers"),),
    ),
    Edit(
        "a decimal must be larger",
        (('min = "0.5"', 'min = "2"'),),
        ((f"wire {CIRCLE}.radius_mm.min (publishers first)", "deploy all publishers"),),
    ),
    Edit(
        "an enum has one value more",
        (('["red", "blue"]', '["red", "blue", "green"]'),),
        (("consumer enums.Colour.values (readers first)", "deploy all readers"),),
    ),
    Edit(
        "an enum has one value less",
        (('["red", "blue"]', '["red"]'),),
        (("wire enums.Colour.values (publishers first)", "deploy all publishers"),),
    ),
    Edit(
        "an enum is open",
        (('["red", "blue"]', '["red", "blue"]\nopen = true'),),
        (("consumer enums.Colour.open (readers first)", "deploy all readers"),),
    ),
    Edit("an enum is closed", (("open = true\n", ""),), (("wire enums.Size.open (publishers first)", "deploy all publishers"),)),
    Edit(
        "an open enum has one value more",
        (('["s", "m"]', '["s", "m", "l"]'),),
        (("consumer enums.Size.values (readers first)", "deploy all readers"),),
    ),
    Edit(
        "an enum is renamed",
        (("Colour", "Color"),),
        (("source enums.Colour (any order)", "code"), (f"source {CIRCLE}.colour (any order)", "code")),
    ),
    Edit(
        "a text may be longer",
        (("max_length = 20", "max_length = 30"),),
        ((f"consumer {CIRCLE}.label.max_length (readers first)", "deploy all readers"),),
    ),
    Edit(
        "a text must be shorter",
        (("max_length = 20", "max_length = 10"),),
        ((f"wire {CIRCLE}.label.max_length (publishers first)", "deploy all publishers"),),
    ),
    Edit("a pattern changes", (("^[a-z]+$", "^[A-Z]+$"),), ((f"wire {CIRCLE}.label.pattern (side by side)", "both allow"),)),
    Edit(
        "a pattern is dropped",
        ((', pattern = "^[a-z]+$"', ""),),
        ((f"consumer {CIRCLE}.label.pattern (readers first)", "deploy all readers"),),
    ),
    Edit(
        "a datetime becomes text",
        (('made_at = "datetime"', 'made_at = "str"'),),
        ((f"wire {CIRCLE}.made_at (readers first)", "deploy all readers"),),
    ),
    Edit(
        "a uint64 becomes an int",
        (('type = "uint64"', 'type = "int"'),),
        ((f"wire {CIRCLE}.serial (readers first)", "deploy all readers"),),
    ),
    Edit("a uint64 has its minimum in writing", (('"uint64", max', '"uint64", min = 0, max'),)),
    Edit("a constant changes", (("const = 2", "const = 3"),), ((f"wire {CIRCLE}.version.const (side by side)", "beside"),)),
    Edit("a constant is added", (("fields.serial", 'fields.kind = { type = "str", const = "circle" }\nfields.serial'),)),
    Edit(
        "a field of an inline object changes",
        (('row = "int"', 'row = "str"'),),
        ((f"wire {CIRCLE}.place.fields.row (side by side)", "beside"),),
    ),
    Edit(
        "a field is secret and deprecated",
        (
            ('made_at = "datetime"', 'made_at = { type = "datetime", deprecated = "use at" }'),
            ('{ type = "str", max_length', '{ secret = true, type = "str", max_length'),
        ),
    ),
    Edit(
        "a strict message has a field more",
        (('fields.side = "int"', 'fields.side = "int"\nfields.more = "int?"'),),
        (("consumer messages.Square.fields.more (readers first)", "deploy all readers"),),
    ),
    Edit(
        "a strict message has a field less",
        (('fields.side = "int"\nfields.note = "str?"', 'fields.side = "int"'),),
        (("wire messages.Square.fields.note (side by side)", "forbid_unknown"),),
    ),
    Edit(
        "a message becomes strict",
        (("[messages.Dot]", "[messages.Dot]\nforbid_unknown = true"),),
        (("wire messages.Dot.forbid_unknown (publishers first)", "deploy all publishers"),),
    ),
    Edit("a message is no longer strict", (("forbid_unknown = true\n", ""),)),
    Edit(
        "a union has one member more",
        (('["Circle", "Square"]', '["Circle", "Square", "NotFound"]'),),
        (
            ("consumer unions.Shape.members (readers first)", "deploy all readers"),
            ("wire messages.NotFound (side by side)", "union"),
        ),
    ),
    Edit(
        "a union has another tag",
        (("[unions.Shape]", '[unions.Shape]\ntag = "kind"'),),
        (
            ("wire unions.Shape.tag (side by side)", "beside"),
            ("wire messages.Circle (side by side)", "union"),
            ("wire messages.Square (side by side)", "union"),
        ),
    ),
    Edit(
        "a reply changes", (('reply = "Square"', 'reply = "Circle"'),), (("wire subjects.get.reply (side by side)", "new reply"),)
    ),
    Edit(
        "a subject is no longer answered",
        ((', reply = "Square", errors = { GONE = "Deleted." }', ""),),
        (("wire subjects.get.reply (side by side)", "new reply"), ("source subjects.get.errors (any order)", "code")),
    ),
    Edit(
        "an error is added",
        (('GONE = "Deleted."', 'GONE = "Deleted.", LATE = "Too late."'),),
        (("consumer subjects.get.errors (readers first)", "deploy all readers"),),
    ),
    Edit(
        "an error has another code",
        (('GONE = "Deleted."', 'GONE = { doc = "Deleted.", code = "410" }'),),
        (("wire subjects.get.errors.GONE.code (side by side)", "keep the code"),),
    ),
)
"""Edits of `SHAPES`, with what the spec language has besides."""
