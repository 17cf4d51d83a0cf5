# ruff: noqa: E501 - one case on one line
"""Every fault of a spec is refused with its full TOML key and its line.

A case replaces text of `acme.toml`; the faulty line of the replacement ends in `# !`.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smith_codegen import checks, reader, resolve
from smith_codegen.cli import main
from smith_codegen.compile import compile_spec
from smith_codegen.errors import SpecError, SpecErrors

ACME = Path(__file__).with_name("acme.toml").read_text()

DONE = '"finished" = { pattern = "acme.done.{order_id}", message = "Done", stream = "DONE" }'
PLACED = '"orders.placed" = { pattern = "acme.orders.{kind}.{order_id}", message = "Order", stream = "ORDERS" }'
LEVEL = '"notes.level" = { pattern = "acme.notes.{place}.{level}", message = "Done" }'
TICK = '"tick" = { pattern = "acme.tick", message = "bytes" }'
KIND = 'kind = { enum = ["buy.v1", "sell.v1"], doc = "What an order does." }'
ORDERS = 'subjects = ["acme.orders.>"]'
BUYER = 'filter = { subject = "orders.placed", kind = "buy.v1" }'

CASES = {
    # buckets and object stores
    "bucket with an invalid name": ("[spec]", '[buckets."a b"] # !\nmessage = "Done"\n[spec]', 'buckets."a b"', "not a valid name"),
    "bucket that is a keyword": ("[spec]", '[buckets.class] # !\nmessage = "Done"\n[spec]', "buckets.class", "not make a valid Python name"),
    "buckets that are one in Python": ("[spec]", '[buckets.a-b]\nmessage = "Done"\n[buckets.a_b] # !\nmessage = "Done"\n[spec]', "buckets.a_b", "becomes buckets.a_b, as a-b does"),
    "bucket without a message": ("[spec]", '[buckets.b] # !\n[spec]', "buckets.b", "`message` is missing"),
    "bucket of an unknown message": ("[spec]", '[buckets.b]\nmessage = "Don" # !\n[spec]', "buckets.b.message", "did you mean Done?"),
    "bucket of a family": ("[spec]", '[buckets.b]\nmessage = "Order" # !\n[spec]', "buckets.b.message", "is a family"),
    "bucket of too many values": ("[spec]", '[buckets.b]\nmessage = "Done"\nhistory = 65 # !\n[spec]', "buckets.b.history", "not within 1 to 64"),
    "bucket with a bad duration": ("[spec]", '[buckets.b]\nmessage = "Done"\nttl = "1 hour" # !\n[spec]', "buckets.b.ttl", "not a duration"),
    "bucket with a short marker": ("[spec]", '[buckets.b]\nmessage = "Done"\nlimit_marker_ttl = "1ms" # !\n[spec]', "buckets.b.limit_marker_ttl", "shorter than 1 s"),
    "bucket with an unknown key": ("[spec]", '[buckets.b]\nmessage = "Done"\nmax_age = "1h" # !\n[spec]', "buckets.b.max_age", "unknown key"),
    "key with an unknown token": ("[spec]", '[buckets.b]\nmessage = "Done"\nkey = "{order}" # !\n[spec]', "buckets.b.key", "unknown token 'order'"),
    "key with a tail": ("[spec]", '[buckets.b]\nmessage = "Done"\nkey = "{rest>}" # !\n[spec]', "buckets.b.key", "does not stand for one token"),
    "key without a token": ("[spec]", '[buckets.b]\nmessage = "Done"\nkey = "a.b" # !\n[spec]', "buckets.b.key", "there would be one key"),
    "key with a wildcard": ("[spec]", '[buckets.b]\nmessage = "Done"\nkey = "{order_id}.*" # !\n[spec]', "buckets.b.key", "not a valid part of a key"),
    "key with a token twice": ("[spec]", '[buckets.b]\nmessage = "Done"\nkey = "{order_id}.{order_id}" # !\n[spec]', "buckets.b.key", "occurs twice"),
    "key with a selector": ("[spec]", '[buckets.b]\nmessage = "Done"\nkey = "{kind}" # !\n[spec]', "buckets.b.key", "selects a payload"),
    "bucket whose stream is declared": ("[spec]", '[buckets.b]\nmessage = "Done"\n[streams.KV_b] # !\nsubjects = ["$KV.b.>"]\nexternal = true\n[spec]', "streams.KV_b", "is the stream of buckets.b as well"),
    "object store with a bad size": ("[spec]", '[objects.o]\nmax_bytes = "big" # !\n[spec]', "objects.o.max_bytes", "not a size"),
    "object store with a short life": ("[spec]", '[objects.o]\nttl = "1ms" # !\n[spec]', "objects.o.ttl", "shorter than"),
    # requests
    "reply of a stored subject": (DONE, DONE[:-2] + ', reply = "Done" } # !', "subjects.finished.reply", "the acknowledgement of DONE would be the first reply"),
    "unknown reply": (TICK, TICK[:-2] + ', reply = "Don" } # !', "subjects.tick.reply", "unknown message 'Don'"),
    "reply that is a family": (TICK, TICK[:-2] + ', reply = "Order" } # !', "subjects.tick.reply", "Order is a family"),
    "errors without a reply": (TICK, TICK[:-2] + ', errors = { A = "a" } } # !', "subjects.tick.errors", "for subjects with a reply"),
    "error that is no constant": (TICK, TICK[:-2] + ', reply = "Done", errors = { gone = "a" } } # !', "subjects.tick.errors.gone", "not a valid name"),
    "error that is an attribute": (TICK, TICK[:-2] + ', reply = "Done", errors = { STREAM = "a" } } # !', "subjects.tick.errors.STREAM", "reserved"),
    "code with a space": (TICK, TICK[:-2] + ', reply = "Done", errors = { A = { code = "a b" } } } # !', "subjects.tick.errors.A.code", "not a valid code"),
    "code of the SDK": (TICK, TICK[:-2] + ', reply = "Done", errors = { A = { code = "500" } } } # !', "subjects.tick.errors.A.code", "by themselves"),
    "code twice": (TICK, TICK[:-2] + ', reply = "Done", errors = { A = { code = "B" }, B = "b" } } # !', "subjects.tick.errors.B", "has the code B, as A does"),
    "unknown key of an error": (TICK, TICK[:-2] + ', reply = "Done", errors = { A = { cod = "B" } } } # !', "subjects.tick.errors.A.cod", "did you mean `code`?"),
    # spellings and limits
    "alias of no selector": ('level = { enum = ["low", "high"] }', 'level = { enum = ["low", "high"], aliases = { l = "low" } } # !', "tokens.level.aliases", "for a token that selects a payload"),
    "alias that is a value": (KIND, 'kind = { enum = ["buy.v1", "sell.v1"], aliases = { "buy.v1" = "sell.v1" } } # !', 'tokens.kind.aliases."buy.v1"', "a value of the token itself"),
    "alias of an unknown value": (KIND, 'kind = { enum = ["buy.v1", "sell.v1"], aliases = { buy = "buy.v2" } } # !', "tokens.kind.aliases.buy", "is not a value of kind"),
    "reads of an open field": ('order_id = "OrderId"', 'order_id = { type = "OrderId", reads = { a = "b" } } # !', "messages.Done.fields.order_id.reads", "fields of a closed set"),
    "reads that are a value": ('level = "Level?"', 'level = { type = "Level?", reads = { low = "high" } } # !', "messages.Done.fields.level.reads.low", "a value of the field itself"),
    "reads of an unknown value": ('level = "Level?"', 'level = { type = "Level?", reads = { l = "lo" } } # !', "messages.Done.fields.level.reads.l", "is not a value"),
    "case of an inline set": ('level = "Level?"', 'level = { type = "enum:low|high?", case = "upper" } # !', "messages.Done.fields.level.case", "the type of a token with an enum"),
    "no item": ("[messages.Done]", "[messages.Done]\nmax_items = 0 # !", "messages.Done.max_items", "less than 1"),
    "too many levels": ("[messages.Done]", "[messages.Done]\nmax_depth = 128 # !", "messages.Done.max_depth", "not within 1 to 127"),
    "minimum beyond 64 bits": ('"buy.v1" = { size = "int" }', '"buy.v1" = { size = { type = "int", min = 18446744073709551615 } } # !', 'messages.Order.params."buy.v1".size.min', "beyond 64 bits"),
    "an empty message that needs a field": ("steps = { type = \"list[Step]\", new = [] }", 'steps = { type = "Step", new = {} } # !', "messages.Done.fields.steps.new", "not a valid Step"),
    # form
    "no TOML": ("[spec]", "[spec # !", "", "invalid TOML"),
    "unknown section": ("[spec]", "[other] # !\n[spec]", "other", "unknown key"),
    "unknown key of spec": ('name = "acme"', 'name = "acme"\nnmae = "acme" # !', "spec.nmae", "did you mean `name`?"),
    "unknown key of a token": ('{ newtype = "OrderId" }', '{ newtyp = "OrderId" } # !', "tokens.order_id.newtyp", "unknown key"),
    "unknown key of a message": ("[messages.Done]", "[messages.Done]\nids = 1 # !", "messages.Done.ids", "did you mean `id`?"),
    "unknown key of a field": ('place = "Place"', 'place = { type = "Place", defalt = 1 } # !', "messages.Order.fields.place.defalt", "unknown key"),
    "unknown key of a param": ('"buy.v1" = { size = "int" }', '"buy.v1" = { size = { type = "int", most = 1 } } # !', 'messages.Order.params."buy.v1".size.most', "unknown key"),
    "unknown key of a subject": (DONE, DONE[:-2] + ", qos = 1 } # !", "subjects.finished.qos", "unknown key"),
    "unknown key of a stream": ("external = true", "external = true\nmax_age_ = 1 # !", "streams.OTHERS.max_age_", "did you mean `max_age`?"),
    "unknown key of a consumer": ("max_attempts = 3", "max_attempts = 3\nack_wit = 1 # !", "consumers.buyer.ack_wit", "did you mean `ack_wait`?"),
    "unknown key of a profile": ('fit = "1GiB"', 'fit = "1GiB"\nfits = 1 # !', "profiles.dev.fits", "did you mean `fit`?"),
    "wrong type": ("max_attempts = 3", 'max_attempts = "3" # !', "consumers.buyer.max_attempts", "expected int"),
    "wrong type in an array": (KIND, 'kind = { enum = [\n"buy.v1",\n7, # !\n] }', "tokens.kind.enum.1", "expected str"),
    "bool is no int": ("max_attempts = 3", "max_attempts = true # !", "consumers.buyer.max_attempts", "expected int"),
    "no table": ("[profiles.dev]\nfit = \"1GiB\"", "[profiles]\ndev = 3 # !", "profiles.dev", "expected"),
    "missing key": ('[consumers.buyer]\nstream = "ORDERS"', "[consumers.buyer] # !", "consumers.buyer", "`stream` is missing"),
    "no such choice": ('retention = "workqueue"', 'retention = "queue" # !', "streams.ORDERS.retention", "one of limits, interest, workqueue"),
    "no duration": ('max_age = "1h"', 'max_age = "1 hour" # !', "streams.ORDERS.max_age", "not a duration"),
    "no size": ('max_bytes = "10MiB"', 'max_bytes = "10MB" # !', "streams.DONE.max_bytes", "not a size"),
    # names
    "no package": ('package = "acme_bus"', 'package = "acme-bus" # !', "spec.package", "import name"),
    "token of no kind": ('order_id = { newtype = "OrderId" }', 'order_id = { newtype = "OrderId" }\nother = {} # !', "tokens.other", "either `newtype` or `enum`"),
    "empty closed set": ('level = { enum = ["low", "high"] }', "level = { enum = [] } # !", "tokens.level.enum", "no value"),
    "values of unequal width": (KIND, 'kind = { enum = [\n"buy.v1",\n"sell" # !\n] }', "tokens.kind.enum.1", "span different numbers of tokens, 1 and 2"),
    "value twice": ('level = { enum = ["low", "high"] }', 'level = { enum = ["low", "high", "low"] } # !', "tokens.level.enum.2", "twice"),
    "value that is not a valid token": ('level = { enum = ["low", "high"] }', 'level = { enum = ["low", "h gh"] } # !', "tokens.level.enum.1", "not a valid token"),
    "min of a str": ('{ newtype = "OrderId" }', '{ newtype = "OrderId", min = 1 } # !', "tokens.order_id.min", "base"),
    "message in lower case": ("[messages.Step]", "[messages.step] # !\n[messages.Step]", "messages.step", "not a valid class name"),
    "kinds of a str": ('number = "Number"', 'number = "Number"\nwhat = { type = "str", kinds = ["A"] } # !', "messages.Done.fields.what.kinds", "is for fields of type any"),
    "kinds in a family": ('place = "Place"', 'place = "Place"\nwhat = { type = "any", kinds = ["A"] } # !', "messages.Order.fields.what.kinds", "cannot be used in a family"),
    "kinds twice": ('number = "Number"', 'number = "Number"\na = { type = "any", kinds = ["A"] }\nb = { type = "any", kinds = ["A"] } # !', "messages.Done.fields.b.kinds", "with the kinds of a"),
    "a kind twice": ('number = "Number"', 'number = "Number"\na = { type = "any", kinds = ["A", "A"] } # !', "messages.Done.fields.a.kinds", "has a value twice"),
    "field beside kinds": ('number = "Number"', 'number = "Number"\na = { type = "any", kinds = ["A"] }\nkind = "str" # !', "messages.Done.fields.kind", "reserved for generated code"),
    "field that hides a type, and its attribute": ('place = "Place"', 'place = "Place"\nstr_ = "str"\nstr = "str" # !', "messages.Order.fields.str", "is str_ in Python, which is another field"),
    "field that the family has": ('place = "Place"', 'place = "Place"\nparams = "any" # !', "messages.Order.fields.params", "reserved for generated code"),
    "no field type": ('place = "Place"', 'place = "list[" # !', "messages.Order.fields.place", "not a field type"),
    "unknown type": ('place = "Place"', 'place = "list[Plaice]" # !', "messages.Order.fields.place", "did you mean Place?"),
    "default of another type": ("default = 5", 'default = "5" } # !\nw2 = { type = "int"', "messages.Order.fields.weight.default", "not a valid int"),
    "new of another type": ('at = { type = "int", new = "now_ns" }', 'at = { type = "int", new = "uuid7" } # !', "messages.Order.fields.at.new", "not a valid int"),
    "id that is no field": ('[messages.Done]\nid = "order_id"', '[messages.Done]\nid = "oid" # !', "messages.Done.id", "not a field"),
    "family by an open token": ('by = "kind"', 'by = "order_id" # !', "messages.Order.by", "not a closed set"),
    "value without params": ('"sell.v1" = {}\n', "", "messages.Order.params", '"sell.v1" = {}'),
    "params without value": ('"sell.v1" = {}', '"sell.v1" = {}\n"rent.v1" = {} # !', 'messages.Order.params."rent.v1"', "not a value of kind"),
    "name of no Python": (TICK, TICK + '\n"a-b" = { pattern = "acme.x", message = "bytes" } # !', "subjects.a-b", "not a valid Python name"),
    # references
    "unknown token": (DONE, DONE.replace("order_id", "ordr_id") + " # !", "subjects.finished.pattern", "did you mean order_id?"),
    "unknown message": (DONE, DONE.replace('"Done"', '"Dome"') + " # !", "subjects.finished.message", "did you mean Done?"),
    "unknown stream": (DONE, DONE.replace('"DONE"', '"DON"') + " # !", "subjects.finished.stream", "did you mean DONE?"),
    "consumer of an unknown stream": ('[consumers.buyer]\nstream = "ORDERS"', '[consumers.buyer]\nstream = "ORDER" # !', "consumers.buyer.stream", "did you mean ORDERS?"),
    "consumer of an unknown subject": (BUYER, BUYER.replace("orders.placed", "orders.place") + " # !", "consumers.buyer.filter", "did you mean orders.placed?"),
    # more about names
    "no root": ('root = "acme"', 'root = "acme.*" # !', "spec.root", "not a valid subject"),
    "version zero": ("version = 1", "version = 0 # !", "spec.version", "less than 1"),
    "newtype in lower case": ('{ newtype = "OrderId" }', '{ newtype = "order_id" } # !', "tokens.order_id.newtype", "not a valid class name"),
    "format of a str": ('{ newtype = "OrderId" }', '{ newtype = "OrderId", format = "02x" } # !', "tokens.order_id.format", "is not an int format"),
    "min over max": ('base = "int", min = 1, max = 99 }', 'base = "int", min = 100, max = 99 } # !', "tokens.number.min", "greater than max"),
    "exclude of an int": ('base = "int", min = 1', 'base = "int", exclude = ["1"], min = 1', "tokens.number.exclude", "use min and max"),
    "exclude that is not a valid token": ('exclude = ["all"]', 'exclude = ["a.b"]', "tokens.place.exclude.0", "not a valid token"),
    "closed and bounded": ('level = { enum = ["low", "high"] }', 'level = { enum = ["low", "high"], min = 1 } # !', "tokens.level", "these are for open tokens"),
    "constant of no Python": (KIND, KIND.replace("buy.v1", "1.v1") + " # !", "tokens.kind.enum.0", "does not make a valid Python name"),
    "two families by one token": ("[messages.Order]", '[messages.Bid]\nby = "kind" # !\nparams = { "buy.v1" = {}, "sell.v1" = {} }\n[messages.Order]', "messages.Bid.by", "selects the payload"),
    "field of a selecting type": ('place = "Place"', 'place = "Kind" # !', "messages.Order.fields.place", "selects a payload"),
    "min of no int": ('place = "Place"', 'place = { type = "Place", min = 1 } # !', "messages.Order.fields.place.min", "of type int"),
    "params of no family": ('[messages.Done]\nid = "order_id"', '[messages.Done]\nid = "order_id"\nparams.x = {} # !', "messages.Done.params", "for families"),
    "consumer of no Python": ("[consumers.buyer]", "[consumers.1buyer] # !", "consumers.1buyer", "does not make a valid Python name"),
    "filter without a subject": (BUYER, 'filter = { kind = "buy.v1" } # !', "consumers.buyer.filter", "names no subject"),
    "publishes to nobody": (BUYER, BUYER + '\npublishes = ["finishd"] # !', "consumers.buyer.publishes.0", "did you mean finished?"),
    # patterns
    "optional part": (DONE, DONE.replace("{order_id}", "{order_id}[.x]") + " # !", "subjects.finished.pattern", "a last token that may be absent is {name?}"),
    "second pattern for dead letters": ('"dead" = {', '"dead.too" = { pattern = "acme.x.{stream}.{consumer}.{seq}", message = "bytes", stream = "DEAD", dead_letters = true }\n"dead.letters" = {', 'subjects."dead.letters".dead_letters', "the dead-letter subject already"),
    "two placeholders in a token": (DONE, DONE.replace("{order_id}", "{order_id}-{place}") + " # !", "subjects.finished.pattern", "one placeholder at most"),
    "headers of another type": (DONE, DONE.replace(" }", ', headers = { "Trace" = "list[str]" } }') + " # !", "subjects.finished.headers.Trace", "not a type of a header"),
    "a header of the server": (DONE, DONE.replace(" }", ', headers = { "Nats-TTL" = "str" } }') + " # !", "subjects.finished.headers.Nats-TTL", "the server or the SDK writes"),
    "headers that are not declared": (DONE, DONE.replace(" }", ', headers = "Trace" }') + " # !", "subjects.finished.headers", "unknown message 'Trace'"),
    "token twice": (DONE, DONE.replace("{order_id}", "{order_id}.{order_id}") + " # !", "subjects.finished.pattern", "twice"),
    "wildcard in a pattern": (DONE, DONE.replace("{order_id}", "*") + " # !", "subjects.finished.pattern", "'*' is a wildcard"),
    "outside of the root": (TICK, TICK.replace("acme.tick", "tick") + " # !", "subjects.tick.pattern", "begins with"),
    "family without its token": (PLACED, PLACED.replace(".{kind}", "") + " # !", 'subjects."orders.placed".pattern', "add {kind}"),
    "two patterns, one subject": (TICK, TICK + '\n"boom" = { pattern = "acme.{place}", message = "bytes" } # !', "subjects.boom.pattern", "a message on acme.tick could be this subject or tick"),
    "excluded too little": (LEVEL, LEVEL.replace("{place}", "{order_id}") + '\n"x.y" = { pattern = "acme.notes.x.{order_id}", message = "Done" } # !', 'subjects."x.y".pattern', "acme.notes.x.low could be this subject or notes.level"),
    "filter that receives another message": (LEVEL, LEVEL.replace('"Done"', '"Step"') + " # !", 'subjects."notes.level".pattern', "also receives Done of notes.all"),
    "no pattern for dead letters": (TICK, TICK[:-2] + ", dead_letters = true } # !", "subjects.tick.pattern", "not a valid dead-letter pattern"),
    # streams
    "stream captures none": (DONE, DONE.replace("acme.done", "acme.do") + " # !", "subjects.finished.stream", "captures none of"),
    "stream captures part": ('subjects = ["acme.orders.>"]', 'subjects = ["acme.orders.buy.>"]', 'subjects."orders.placed".stream', "only part"),
    "another stream captures it too": ('subjects = ["acme.dead.>"]', 'subjects = ["acme.dead.>", "acme.done.x"]', "subjects.finished.stream", "DEAD (acme.dead.>, acme.done.x) also captures acme.done.{order_id}"),
    "core subject captured": ('subjects = ["acme.dead.>"]', 'subjects = ["acme.dead.>", "acme.tick"]', "subjects.tick.pattern", "has no stream, but DEAD"),
    "streams overlap": ('subjects = ["acme.dead.>"]', 'subjects = ["acme.dead.>", "acme.orders.x.>"] # !', "streams.DEAD.subjects", "10065"),
    "overlap in one stream": (ORDERS, 'subjects = [\n"acme.orders.>",\n"acme.orders.*" # !\n]', "streams.ORDERS.subjects.1", "keep the wider one"),
    "stream captures nothing": ("external = true", "", "streams.OTHERS", "external = true"),
    "external captures ours": (ORDERS, ORDERS + "\nexternal = true # !", "streams.ORDERS.external", "remove external"),
    "no pattern of NATS": (ORDERS, 'subjects = ["acme.>.x"] # !', "streams.ORDERS.subjects.0", "not a valid NATS pattern"),
    "age of zero": ('max_age = "1h"', 'max_age = "0s" # !', "streams.ORDERS.max_age", "is zero"),
    "window longer than age": ('duplicate_window = "90s"', 'duplicate_window = "2h" # !', "streams.ORDERS.duplicate_window", "longer than max_age"),
    "stream of a bad name": ("[streams.OTHERS]", '[streams."OTH ERS"] # !', 'streams."OTH ERS"', "not a valid stream name"),
    "stream of nothing": (ORDERS, "subjects = [] # !", "streams.ORDERS.subjects", "is empty"),
    "size of zero": ('max_bytes = "10MiB"', "max_bytes = 0 # !", "streams.DONE.max_bytes", "less than 1"),
    "interest of nobody": ('subjects = ["acme.done.*"]', 'subjects = ["acme.done.*"]\nretention = "interest" # !', "streams.DONE.retention", "none receives acme.done.*"),
    "interest in a part": ("[streams.DONE]", '[consumers.one]\nstream = "DONE"\nfilter = { subject = "finished", order_id = "1" }\nack_wait = "1s"\nmax_attempts = 1\nmax_ack_pending = 1\nprefetch = 1\n[streams.DONE]\nretention = "interest" # !', "streams.DONE.retention", "none receives acme.done.*"),
    # consumers
    "no name of a consumer": ("[consumers.seller-one]", '[consumers."seller one"] # !', 'consumers."seller one"', "not a valid consumer name"),
    "two without a filter": (BUYER + "\n", "", "consumers.seller-one", "10099"),
    "no time": ('ack_wait = "1.5s"', 'ack_wait = "0s" # !', "consumers.seller-one.ack_wait", "is zero"),
    "no prefetch": ("prefetch = 10\n\n[consumers.seller-one]", "prefetch = 0 # !\n\n[consumers.seller-one]", "consumers.buyer.prefetch", "less than 1"),
    "fit into nothing": ('fit = "1GiB"', "fit = 0 # !", "profiles.dev.fit", "less than 1"),
    "filters overlap on a work queue": (BUYER, 'filter = { subject = "orders.placed" }', "consumers.seller-one", "10100"),
    "filter on another stream": (BUYER, 'filter = { subject = "finished" } # !', "consumers.buyer.filter.subject", "finished is stored in DONE"),
    "filter by no token of it": (BUYER, BUYER.replace("kind =", "level =") + " # !", "consumers.buyer.filter.level", "not a token of"),
    "filter by no value of it": (BUYER, BUYER.replace("buy.v1", "rent.v1") + " # !", "consumers.buyer.filter.kind", "not a value of kind"),
    "filter by an illegal token": (BUYER, BUYER[:-2] + ', order_id = "a.b" } # !', "consumers.buyer.filter.order_id", "cannot be order_id"),
    "consumer of an external stream": ('[consumers.buyer]\nstream = "ORDERS"\n' + BUYER, '[consumers.buyer]\nstream = "OTHERS" # !', "consumers.buyer.stream", "external"),
    "no attempts": ("max_attempts = 3", "max_attempts = 0 # !", "consumers.buyer.max_attempts", "at least 1"),
    "six replicas": ('fit = "1GiB"', 'fit = "1GiB"\nreplicas = 6 # !', "profiles.dev.replicas", "1 to 5"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_refused_with_key_and_line(case: str) -> None:
    old, new, key, words = CASES[case]
    assert ACME.count(old) >= 1
    text = ACME.replace(old, new, 1)
    with pytest.raises(SpecErrors) as caught:
        compile_spec(text, "acme.toml")
    found = next((error for error in caught.value.errors if error.key == key), None)
    assert found is not None, f"no error for {key}:\n{caught.value}"
    assert words in str(found)
    assert found.fix
    marked = [number for number, line in enumerate(text.splitlines(), 1) if line.endswith("# !")]
    if marked:
        assert found.line in marked, str(found)
        assert str(found).startswith(f"acme.toml:{found.line}: {key}")
    elif key:
        assert found.line > 0


def test_everything_that_is_wrong_is_reported_at_once() -> None:
    text = ACME.replace("max_attempts = 3", "max_attempts = true").replace('fit = "1GiB"', "fit = []")
    with pytest.raises(SpecErrors) as caught:
        compile_spec(text)
    assert [error.key for error in caught.value.errors] == ["consumers.buyer.max_attempts", "profiles.dev.fit"]


def test_the_spec_that_the_cases_change_is_good() -> None:
    assert compile_spec(ACME)


def test_generating_into_another_package_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "acme.toml").write_text(ACME)
    assert main([str(tmp_path / "acme.toml"), str(tmp_path / "other_bus")]) == 2
    assert "spec.package" in capsys.readouterr().err
    assert not (tmp_path / "other_bus").exists()


WRONG_VALUES = (
    "3",
    '"x"',
    "[]",
    "{}",
    "true",
    '["a"]',
    '""',
    "-1",
    "1.5",
    '"a.b"',
    '"{x}"',
    "[{}]",
    '{ type = "int" }',
    '"acme.*"',
)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_whatever_is_done_to_a_spec_it_is_read_or_refused(data: st.DataObject) -> None:
    lines = ACME.splitlines()
    at = data.draw(st.integers(0, len(lines) - 1), "line")
    match data.draw(st.sampled_from(["delete", "repeat", "replace"])):
        case "delete":
            del lines[at]
        case "repeat":
            lines.insert(at, data.draw(st.sampled_from(lines)))
        case "replace":
            value = data.draw(st.sampled_from(WRONG_VALUES))
            lines[at] = re.sub(r"= .*", lambda _: f"= {value}", lines[at])
    errors: tuple[SpecError, ...] = ()
    try:
        read = reader.read("\n".join(lines))
        checks.check(read)
        resolve.build(read)
    except SpecErrors as refused:
        errors = refused.errors
    for error in errors:
        assert error.fix, str(error)
        assert error.line or error.key in ("", "spec"), str(error)
