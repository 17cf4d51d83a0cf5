# ruff: noqa: E501 - one case on one line
"""What breaks between two versions of a spec: exactly that is reported, under the key where it was
changed, and nothing else.

A case replaces text of `acme.toml`, and says what is reported from the old text to the new one, and
from the new to the old.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from smith_codegen import checks, reader
from smith_codegen.breaking import history
from smith_codegen.breaking.change import effect_of
from smith_codegen.breaking.compat import compare
from smith_codegen.cli import main
from smith_codegen.errors import SpecErrors
from smith_codegen.spec import Spec

ACME = Path(__file__).with_name("acme.toml").read_text()
SMITH = Path(__file__).parents[2].joinpath("subjects.toml").read_text()

DONE = '"finished" = { pattern = "acme.done.{order_id}", message = "Done", stream = "DONE" }'
TICK = '"tick" = { pattern = "acme.tick", message = "bytes" }'
DONE_STREAM = '[streams.DONE]\nsubjects = ["acme.done.*"]\nmax_bytes = "10MiB"\n'
STEP = '[messages.Step]\nfields = { what = "str", detail = "map[any]?", raw = "bytes?", share = "float?" }'
BUY = '"buy.v1" = { size = "int" }'
OUTCOME = 'outcome = { type = "enum:good|bad", default = "good" }'
REST = 'ack_wait = "9s"\nmax_attempts = 3\nmax_ack_pending = 100\nprefetch = 10\n'
BUYER = "[consumers.buyer]"
COLLECTOR = f'[consumers.collector]\nstream = "DONE"\n{REST}'


READERS = "readers first: older readers fail on what newer publishers send"


class Case(NamedTuple):
    """`edits` are (text, instead of it) pairs; `there` and `back` what is reported one way and the
    other, as "kind key". What `first` says is edited in both texts."""

    edits: list[tuple[str, str]]
    there: list[str] = []  # noqa: RUF012 - never changed
    back: list[str] = []  # noqa: RUF012
    first: list[tuple[str, str]] = []  # noqa: RUF012


OVER = '"over" = { pattern = "acme.over.{order_id}", message = "Done", stream = "DONE" }'
NOTE = '[messages.Note]\nfields = { text = "str", next = "Note?" }\n'
DONE_FIELD, ORDER_FIELD, SIZE = "messages.Done.fields", "messages.Order.fields", 'messages.Order.params."buy.v1".size'

MORE = ACME.replace(TICK, f'{TICK}\n"noted" = {{ pattern = "acme.note", message = "Note" }}\n{OVER}')
MORE = (
    MORE.replace(STEP, NOTE + STEP).replace('["acme.done.*"]', '["acme.done.*", "acme.over.>"]').replace(BUYER, COLLECTOR + BUYER)
)
MORE = MORE.replace(
    "[tokens]\n", '[tokens]\nother = { newtype = "Other", min = 1, base = "int" }\nsize = { enum = ["s", "m", "l"] }\n'
)

CASES = {
    # ---- nothing breaks, either way
    "docs": Case([("What an order does.", "Other words.")]),
    "a field as a table": Case([('place = "Place"', 'place = { type = "Place", doc = "Where." }')]),
    "blanks in a type": Case([("list[Step]", " list[ Step ] ")]),
    "the order of values": Case([('"buy.v1", "sell.v1"', '"sell.v1", "buy.v1"'), ("good|bad", "bad|good")]),
    "the order of declarations": Case([(DONE + "\n", ""), (TICK, TICK + "\n" + DONE), (BUY + '\n"sell.v1" = {}', '"sell.v1" = {}\n' + BUY)]),
    "the order of excluded values": Case([('["all", "none"]', '["none", "all"]')], first=[('["all"]', '["all", "none"]')]),
    "a duration in other words": Case([('max_age = "1h"', 'max_age = "60m"'), ('ack_wait = "1.5s"', 'ack_wait = "1500ms"')]),
    "a size in other words": Case([('max_bytes = "10MiB"', "max_bytes = 10485760")]),
    "limits that grow": Case([('"10MiB"', '"20MiB"'), ("max_attempts = 3", "max_attempts = 4")], back=["consumer consumers.buyer.max_attempts", "consumer streams.DONE.max_bytes"]),
    "a limit, and what a full stream does": Case([('"10MiB"', '"10MiB"\nmax_age = "2h"\ndiscard = "new"')], ["wire streams.DONE.discard", "consumer streams.DONE.max_age"], ["consumer streams.DONE.discard"]),
    "a default in other words": Case([("default = 1 }", "default = 1.0 }")], first=[('"float?"', '{ type = "float?", default = 1 }')]),
    "a consumer of all, in other words": Case([(COLLECTOR, COLLECTOR + 'filter = { subject = "finished" }\n')], first=[(DONE_STREAM, DONE_STREAM + COLLECTOR)]),
    "a closed set inline": Case([('level = "Level?"', 'level = "enum:high|low?"')]),
    "an int as it is written anyway": Case([("max = 99 }", 'max = 99, format = "d" }')]),
    "filters that cover the same": Case([('["acme.dead.>"]', '["acme.dead.*", "acme.dead.*.>"]')]),
    "a longer root of the same subjects": Case([('root = "acme"', 'root = "acme.eu"')], first=[("acme.", "acme.eu.")]),
    "another version": Case([("version = 1", "version = 2")]),
    # ---- an addition breaks nothing, and a removal does
    "a subject": Case([(TICK, TICK + '\n"tock" = { pattern = "acme.tock", message = "bytes" }')], back=["wire subjects.tock"]),
    "a subject in a stream": Case([(DONE, f"{DONE}\n{OVER}"), ('["acme.done.*"]', '["acme.done.*", "acme.over.>"]')], back=["wire subjects.over"]),
    "a message": Case([(STEP, NOTE + STEP)], back=["wire messages.Note"]),
    "a token": Case([("[tokens]\n", '[tokens]\nother = { newtype = "Other" }\n')], back=["source tokens.other"]),
    "a stream": Case([(DONE_STREAM, DONE_STREAM + '[streams.MORE]\nsubjects = ["more.>"]\nexternal = true\n')], back=["wire streams.MORE"]),
    "a filter of a stream": Case([('["$JS.EVENT.ADVISORY.>"]', '["$JS.EVENT.ADVISORY.>", "$SYS.>"]')], back=["wire streams.OTHERS.subjects"]),
    "a wider filter of a stream": Case([('["$JS.EVENT.ADVISORY.>"]', '["$JS.EVENT.>"]')], back=["wire streams.OTHERS.subjects"]),
    "a consumer": Case([(DONE_STREAM, DONE_STREAM + COLLECTOR)], back=["source consumers.collector"]),
    "a profile": Case([("[profiles.dev]", "[profiles.prod]\nreplicas = 3\n[profiles.dev]")], back=["source profiles.prod"]),
    "an optional field": Case([(OUTCOME, f'{OUTCOME}\nmore = "str?"')], back=[f"wire {DONE_FIELD}.more"]),
    "a field with a default": Case([(OUTCOME, OUTCOME + '\nmore = { type = "int", default = 0 }')], back=[f"wire {DONE_FIELD}.more"]),
    "a field that is required": Case([(OUTCOME, OUTCOME + '\nmore = { type = "int", new = 0 }')], [f"wire {DONE_FIELD}.more"], [f"wire {DONE_FIELD}.more"]),
    "a value that selects a payload": Case([('"buy.v1", "sell.v1"]', '"buy.v1", "sell.v1", "rent.v1"]'), (BUY, BUY + '\n"rent.v1" = {}')], ["consumer tokens.kind.enum"], ["wire tokens.kind.enum"]),
    "a value of a token": Case([('"low", "high"', '"low", "middle", "high"')], ["consumer tokens.level.enum"], ["wire tokens.level.enum"]),
    "a value of a field": Case([("good|bad", "good|bad|ugly")], [f"consumer {DONE_FIELD}.outcome"], [f"wire {DONE_FIELD}.outcome"]),
    "a value of an item": Case([("enum:a|b", "enum:a|b|c")], ["consumer messages.Step.fields.detail"], ["wire messages.Step.fields.detail"], first=[("map[any]", "map[list[enum:a|b]]")]),
    # ---- streams
    "a retention": Case([('retention = "workqueue"', 'retention = "limits"')], ["wire streams.ORDERS.retention"], ["wire streams.ORDERS.retention"]),
    "a smaller message": Case([('max_bytes = "10MiB"', 'max_bytes = "10MiB"\nmax_msg_size = "1KiB"')], ["wire streams.DONE.max_msg_size"]),
    # ---- spellings, and limits of a message
    "other spellings of a value": Case([('"enum:good|bad"', '{ type = "enum:good|bad", reads = { fine = "good" } }')], back=[f"wire {DONE_FIELD}.outcome.reads"], first=[(OUTCOME, 'outcome = "enum:good|bad"')]),
    "another meaning of a spelling": Case([('fine = "good"', 'fine = "bad"')], [f"consumer {DONE_FIELD}.outcome.reads.fine"], [f"consumer {DONE_FIELD}.outcome.reads.fine"], first=[(OUTCOME, 'outcome = { type = "enum:good|bad", reads = { fine = "good" } }')]),
    "values in upper case": Case([('level = "Level?"', 'level = { type = "Level?", case = "upper" }')], [f"wire {DONE_FIELD}.level.case"], [f"wire {DONE_FIELD}.level.case"]),
    "an alias of a tag": Case([('doc = "What an order does."', 'aliases = { buy = "buy.v1" }')], back=["wire tokens.kind.aliases"]),
    "a limit of a message": Case([("[messages.Done]\n", "[messages.Done]\nmax_items = 10\nmax_depth = 9\n")], ["wire messages.Done.max_depth", "wire messages.Done.max_items"], ["consumer messages.Done.max_depth", "consumer messages.Done.max_items"]),
    "a limit that is the usual one": Case([("[messages.Done]\n", "[messages.Done]\nmax_items = 100_000\nmax_depth = 127\n")]),
    "a maximum beyond 64 bits": Case([('size = "int"', 'size = { type = "int", max = 18446744073709551615 }')], [f"wire {SIZE}.max"], [f"consumer {SIZE}.max"]),
    # ---- subjects
    "a literal": Case([("acme.tick", "acme.tack")], ["wire subjects.tick.pattern"], ["wire subjects.tick.pattern"]),
    "a literal more": Case([("acme.tick", "acme.tick.more")], ["wire subjects.tick.pattern"], ["wire subjects.tick.pattern"]),
    "a literal, and the filter of its stream": Case([("acme.done.", "acme.did.")], ["wire subjects.finished.pattern"], ["wire subjects.finished.pattern"]),
    "a token for a literal": Case([("acme.paint.{shape}", "acme.paint.gloss")], ['wire subjects."paint.shape".pattern'], ['wire subjects."paint.shape".pattern']),
    "tokens that change places": Case([("{place}.{level}", "{level}.{place}")], ['wire subjects."notes.level".pattern'], ['wire subjects."notes.level".pattern'], first=[('"notes.all" = { pattern = "acme.notes', '"notes.all" = { pattern = "acme.memos')]),
    "tokens of the same form that change places": Case([("{stream}.{order_id}", "{order_id}.{stream}")], ["wire subjects.tick.pattern"], ["wire subjects.tick.pattern"], first=[("acme.tick", "acme.tick.{stream}.{order_id}")]),
    "another token of the same form": Case([("acme.done.{order_id}", "acme.done.{stream}")], ["source subjects.finished.pattern"], ["source subjects.finished.pattern"]),
    "another token of another form": Case([("acme.gloss.{colour}", "acme.gloss.{shape}")], ["wire subjects.tick.pattern"], ["wire subjects.tick.pattern"], first=[("acme.tick", "acme.gloss.{colour}")]),
    "another payload": Case([(DONE, DONE.replace('"Done"', '"Step"'))], ["wire subjects.finished.message"], ["wire subjects.finished.message"]),
    "a payload for bytes": Case([(TICK, TICK.replace('"bytes"', '"Step"'))], ["wire subjects.tick.message"], ["wire subjects.tick.message"]),
    "another payload of the same form": Case([('message = "Note" }', 'message = "Memo" }')], ["source subjects.tick.message"], ["source subjects.tick.message"], first=[(TICK, TICK.replace('"bytes"', '"Note"')), (STEP, NOTE + NOTE.replace("Note", "Memo") + STEP)]),
    "another stream": Case([(OVER, OVER.replace('"DONE"', '"ORDERS"')), ('["acme.done.*", "acme.over.>"]', '["acme.done.*"]'), ('["acme.orders.>"]', '["acme.orders.>", "acme.over.>"]')], ["wire subjects.over.stream"], ["wire subjects.over.stream"], first=[(DONE, f"{DONE}\n{OVER}"), ('["acme.done.*"]', '["acme.done.*", "acme.over.>"]')]),
    "core NATS": Case([(DONE, DONE.replace(', stream = "DONE"', "")), (DONE_STREAM, "")], ["wire streams.DONE", "wire subjects.finished.stream"], ["wire subjects.finished.stream"]),
    "dead letters": Case([(", dead_letters = true", "")], ["consumer subjects.dead.dead_letters"]),
    "another name": Case([('"finished"', '"ended"')], ["source subjects.finished"], ["source subjects.ended"]),
    "another name in a family": Case([('"orders.placed"', '"orders.new"')], ['source subjects."orders.placed"'], ['source subjects."orders.new"']),
    "another name and payload": Case([(DONE, DONE.replace('"finished"', '"ended"').replace('"Done"', '"Step"'))], ["wire subjects.finished"], ["wire subjects.ended"]),
    "names that change places": Case([('"paint.colour"', '"paint"'), ('"paint.shape"', '"paint.colour"'), ('"paint"', '"paint.shape"')], ['source subjects."paint.colour"', 'source subjects."paint.shape"'], ['source subjects."paint.colour"', 'source subjects."paint.shape"']),
    "a name that another had": Case([(TICK + "\n", ""), ('"finished"', '"tick"')], ["wire subjects.tick", "source subjects.finished"], ["source subjects.tick"]),
    "the root": Case([('root = "acme"', 'root = "blue"'), ("acme.", "blue.")], ["wire spec.root"], ["wire spec.root"]),
    "the package": Case([('"acme_bus"', '"blue_bus"')], ["source spec.package"], ["source spec.package"]),
    "a subject that a filter receives": Case([(TICK, TICK + '\n"gloss" = { pattern = "acme.paint.gloss", message = "Done" }')], ["consumer subjects.gloss.pattern"], ["wire subjects.gloss"]),
    "a subject that a consumer receives": Case([(DONE, f"{DONE}\n{OVER}"), ('["acme.done.*"]', '["acme.done.*", "acme.over.>"]')], ["consumer subjects.over.pattern"], ["wire subjects.over"], first=[(DONE_STREAM, DONE_STREAM + COLLECTOR)]),
    # ---- tokens
    "an excluded value": Case([('["all"]', '["all", "none"]')], ["wire tokens.place.exclude"], ["consumer tokens.place.exclude"]),
    "another excluded value": Case([('["all", "none"]', '["all", "any"]')], ["wire tokens.place.exclude", "consumer tokens.place.exclude"], ["wire tokens.place.exclude", "consumer tokens.place.exclude"], first=[('["all"]', '["all", "none"]')]),
    "the least of a token": Case([(", min = 1", ", min = 2")], ["wire tokens.number.min"], ["consumer tokens.number.min"]),
    "no least of a token": Case([(", min = 1", "")], ["consumer tokens.number.min"], ["wire tokens.number.min"]),
    "the most of a token": Case([("max = 99", "max = 98")], ["wire tokens.number.max"], ["consumer tokens.number.max"]),
    "the base of a token": Case([('"Number", base = "int", min = 1, max = 99', '"Number"')], ["wire tokens.number.base"], ["wire tokens.number.base"]),
    "how an int is written": Case([("max = 99 }", 'max = 99, format = "02d" }')], ["wire tokens.number.format"], ["wire tokens.number.format"]),
    "open and closed": Case([('kinds = { enum = ["a"] }', 'kinds = { newtype = "Kinds" }')], ["wire tokens.kinds"], ["wire tokens.kinds"], first=[("[tokens]\n", '[tokens]\nkinds = { enum = ["a"] }\n'), ("acme.tick", "acme.tick.{kinds}"), ('what = "str"', 'what = "Kinds"')]),
    "the width of values": Case([('["red", "blue"]', '["dark.red", "dark.blue"]')], ["wire tokens.colour.enum"], ["wire tokens.colour.enum"]),
    "a token by another name": Case([("{order_id}", "{order}"), ("order_id = { newtype", "order = { newtype")], ["source tokens.order_id"], ["source tokens.order"]),
    "a token that a consumer filters by, by another name": Case([("{place}", "{spot}"), ("place = { newtype", "spot = { newtype"), ('place = "here"', 'spot = "here"')], ["source tokens.place"], ["source tokens.spot"], first=[("acme.done.{order_id}", "acme.done.{place}"), (DONE_STREAM, DONE_STREAM + COLLECTOR + 'filter = { subject = "finished", place = "here" }\n')]),
    "a closed set by another name": Case([("colour}", "color}"), ("colour = {", "color = {")], ["source tokens.colour"], ["source tokens.color"]),
    "a token of its own for one of two subjects": Case([("acme.done.{order_id}", "acme.done.{done_id}"), ("[tokens]\n", '[tokens]\ndone_id = { newtype = "DoneId" }\n')], ["source subjects.finished.pattern"], ["source subjects.finished.pattern", "source tokens.done_id"]),
    "the newtype of a token": Case([("OrderId", "OrderNumber")], ["source tokens.order_id.newtype"], ["source tokens.order_id.newtype"]),
    "a token and its newtype by other names": Case([("{order_id}", "{oid}"), ("order_id = { newtype", "oid = { newtype"), ("OrderId", "Oid")], ["source tokens.order_id"], ["source tokens.oid"]),
    "a token that selects a payload now": Case([(STEP, STEP + '\n[messages.Paint]\nby = "colour"\nparams = { red = {}, blue = {} }')], ["source tokens.colour"], ["wire messages.Paint"]),
    # ---- messages
    "a message by another name": Case([("Step", "Part")], ["source messages.Step"], ["source messages.Part"]),
    "a message that holds itself by another name": Case([("Note", "Memo")], ["source messages.Note"], ["source messages.Memo"], first=[(STEP, NOTE + STEP)]),
    "a family by another name": Case([("messages.Order", "messages.Purchase"), ('"Order"', '"Purchase"')], ["source messages.Order"], ["source messages.Purchase"]),
    "another message": Case([("Step", "Part"), ("what =", "that =")], [f"wire {DONE_FIELD}.steps", "wire messages.Step"], [f"wire {DONE_FIELD}.steps", "wire messages.Part"]),
    "an id": Case([('[messages.Done]\nid = "order_id"\n', "[messages.Done]\n")], ["wire messages.Done.id"], ["wire messages.Done.id"]),
    "a tag": Case([("kind =", "sort ="), ('by = "kind"', 'by = "sort"'), ("{kind}", "{sort}")], ["wire messages.Order.by"], ["wire messages.Order.by"]),
    "plain and family": Case([('by = "kind"\n', ""), (f'[messages.Order.params]\n{BUY}\n"sell.v1" = {{}}\n', "")], ["wire messages.Order.by"], ["wire messages.Order.by"]),
    "the type of a field": Case([('size = "int"', 'size = "str"')], [f"wire {SIZE}"], [f"wire {SIZE}"]),
    "any": Case([('size = "int"', 'size = "any"')], [f"wire {SIZE}"], [f"wire {SIZE}"]),
    "the type of an item": Case([("map[any]", "map[str]")], ["wire messages.Step.fields.detail"], ["wire messages.Step.fields.detail"]),
    "a list for a map": Case([("map[any]", "list[any]")], ["wire messages.Step.fields.detail"], ["wire messages.Step.fields.detail"]),
    "items that may be null": Case([("list[Step]", "list[Step?]")], [f"consumer {DONE_FIELD}.steps"], [f"wire {DONE_FIELD}.steps"]),
    "a field that may be null": Case([('size = "int"', 'size = "int?"')], [f"consumer {SIZE}"], [f"wire {SIZE}"]),
    "null for a default": Case([('type = "int", min = 0, max = 1000, default = 5', 'type = "int?", min = 0, max = 1000')], [f"consumer {ORDER_FIELD}.weight", f"consumer {ORDER_FIELD}.weight.default"], [f"wire {ORDER_FIELD}.weight"]),
    "what a newtype is anyway": Case([('order_id = "OrderId"', 'order_id = "str"')], [f"source {DONE_FIELD}.order_id"], [f"source {DONE_FIELD}.order_id"]),
    "what a newtype of int is anyway": Case([('number = "Number"', 'number = "int"')], [f"source {DONE_FIELD}.number"], [f"source {DONE_FIELD}.number"]),
    "another newtype": Case([('order_id = "OrderId"', 'order_id = "Place"')], [f"source {DONE_FIELD}.order_id"], [f"source {DONE_FIELD}.order_id"]),
    "another newtype of another base": Case([('number = "Number"', 'number = "OrderId"')], [f"wire {DONE_FIELD}.number"], [f"wire {DONE_FIELD}.number"]),
    "another closed set": Case([('level = "Level?"', 'level = "Colour?"')], [f"wire {DONE_FIELD}.level"], [f"wire {DONE_FIELD}.level"]),
    "a wider closed set, inline": Case([('level = "Level?"', 'level = "enum:low|high|top?"')], [f"consumer {DONE_FIELD}.level"], [f"wire {DONE_FIELD}.level"]),
    "a default": Case([("default = 5", "default = 6")], [f"consumer {ORDER_FIELD}.weight.default"], [f"consumer {ORDER_FIELD}.weight.default"]),
    "a default for null": Case([('raw = "bytes?", share = "float?"', 'raw = "bytes?", share = { type = "float?", default = 1 }')], ["consumer messages.Step.fields.share.default"], ["consumer messages.Step.fields.share.default"]),
    "no default": Case([(", default = 5", "")], [f"wire {ORDER_FIELD}.weight.default"], [f"consumer {ORDER_FIELD}.weight.default"]),
    "the least of a field": Case([("min = 0", "min = 1")], [f"wire {ORDER_FIELD}.weight.min"], [f"consumer {ORDER_FIELD}.weight.min"]),
    "no most of a field": Case([(", max = 1000", "")], [f"consumer {ORDER_FIELD}.weight.max"], [f"wire {ORDER_FIELD}.weight.max"]),
    "one new of two": Case([('{ type = "int", new = "now_ns" }', '"int"')], [f"source {ORDER_FIELD}.at.new"]),
    "the last new": Case([(', new = "x"', "")], ["source messages.Step.fields.raw.new"], first=[('"bytes?"', '{ type = "str?", new = "x" }')]),
    "a new that is optional anyway": Case([(', new = "x"', "")], first=[('"bytes?"', '{ type = "str?", new = "x" }'), ('what = "str"', 'what = { type = "str", new = "uuid4" }')]),
    "a default for a new": Case([("new = []", "default = []")], [f"consumer {DONE_FIELD}.steps.default", f"source {DONE_FIELD}.steps.new"], [f"wire {DONE_FIELD}.steps.default"]),
    "another new": Case([('new = "now_ns"', "new = 5")]),
    "one value for another": Case([("good|bad", "good|ugly")], [f"wire {DONE_FIELD}.outcome", f"consumer {DONE_FIELD}.outcome"], [f"wire {DONE_FIELD}.outcome", f"consumer {DONE_FIELD}.outcome"]),
    # ---- streams and consumers
    "a stream by another name": Case([('"DONE"', '"FINISHED"'), ("streams.DONE", "streams.FINISHED")], ["wire streams.DONE"], ["wire streams.FINISHED"], first=[(DONE_STREAM, DONE_STREAM + COLLECTOR)]),
    "a narrower filter of a stream": Case([('["acme.dead.>"]', '["acme.dead.*.*.*"]')], ["wire streams.DEAD.subjects"]),
    "a subject and its stream": Case([(DONE + "\n", ""), (DONE_STREAM, "")], ["wire streams.DONE", "wire subjects.finished"]),
    "a consumer by another name": Case([("consumers.buyer", "consumers.shopper")], ["consumer consumers.buyer"], ["consumer consumers.shopper"]),
    "what a consumer receives": Case([('kind = "buy.v1" }', 'kind = "buy.v1", order_id = "7" }')], ["consumer consumers.buyer.filter"], ["consumer consumers.buyer.filter"]),
    "the stream of a consumer": Case([('"ORDERS"\nfilter = { subject = "orders.placed", kind = "buy.v1" }', '"DONE"\nfilter = { subject = "finished" }')], ["consumer consumers.buyer.stream"], ["consumer consumers.buyer.stream"]),
    "a subject and its consumer in another stream": Case([('"DONE"\n' + REST, '"ORDERS"\n' + REST), (DONE, DONE.replace('"DONE"', '"ORDERS"')), (DONE_STREAM, ""), ('["acme.orders.>"]', '["acme.orders.>", "acme.done.*"]')], ["wire streams.DONE", "wire subjects.finished.stream"], ["wire subjects.finished.stream"], first=[("[profiles.dev]", f'{COLLECTOR}filter = {{ subject = "finished" }}\n[profiles.dev]')]),
}  # fmt: skip


def changed(text: str, edits: list[tuple[str, str]]) -> str:
    for was, now in edits:
        assert was != now
        assert was in text
        text = text.replace(was, now)
    return text


def valid(text: str) -> Spec:
    read = reader.read(text)
    checks.check(read)
    return read


def reported(old: Spec, new: Spec) -> list[str]:
    changes = compare(old, new)
    assert all(change.problem and change.remedy for change in changes)
    for change in changes:
        assert effect_of(change.path, change.kind, change.deploy), f"the table of rules has no such effect: {change}"
    return [f"{change.kind} {change.key}" for change in changes]


@pytest.mark.parametrize("name", CASES)
def test_exactly_what_breaks_is_reported(name: str) -> None:
    case = CASES[name]
    base = changed(ACME, case.first)
    old, new = valid(base), valid(changed(base, case.edits))
    assert reported(old, new) == case.there
    assert reported(new, old) == case.back


def test_the_problem_says_what_became_of_what() -> None:
    edits = [('"low", "high"', '"low", "top"'), ("acme.done.", "acme.did."), ("max = 99", "max = 98"), ("Step", "Part")]
    problems = {
        change.key: change.problem for change in compare(valid(ACME), valid(changed(ACME, edits))) if change.kind != "consumer"
    }
    assert problems == {
        "tokens.level.enum": "high removed: newer readers refuse what older publishers send",
        "subjects.finished.pattern": "is acme.did.{order_id} instead of acme.done.{order_id}",
        "tokens.number.max": "is 98 instead of 99: values that were valid are refused",
        "messages.Step": "is now called Part",
    }


@pytest.mark.parametrize(
    ("was", "now", "there", "back"),
    [
        ('"low", "high"', '"low", "high", "top"', "readers first", "publishers first"),
        ("good|bad", "good|bad|ugly", "readers first", "publishers first"),
        (", max = 1000", "", "readers first", "publishers first"),
        ("max = 99", "max = 100", "readers first", "publishers first"),
        ('["all"]', '["all", "none"]', "publishers first", "readers first"),
        ('size = "int"', 'size = "int?"', "readers first", "publishers first"),
        ('size = "int"', 'size = "float"', "readers first", "publishers first"),
        ('size = "int"', 'size = "any"', "readers first", "publishers first"),
        ('level = "Level?"', 'level = "str?"', "readers first", "publishers first"),
        ('size = "int"', 'size = "str"', "side by side", "side by side"),
        (OUTCOME, f'{OUTCOME}\nmore = {{ type = "int", new = 0 }}', "publishers first", "readers first"),
        (", default = 5", "", "publishers first", "readers first"),
        ("default = 5", "default = 6", "side by side", "side by side"),
        ('[messages.Done]\nid = "order_id"\n', "[messages.Done]\n", "side by side", "side by side"),
        ("acme.tick", "acme.tack", "side by side", "side by side"),
        ('retention = "workqueue"', 'retention = "limits"', "side by side", "side by side"),
        (
            'colour = { enum = ["red", "blue"] }',
            'colour = { newtype = "Colour", exclude = ["round", "flat"] }',
            "readers first",
            "publishers first",
        ),
        ('"OrderId" }', '"OrderNumber" }', "any order", "any order"),
    ],
)
def test_a_change_has_an_order_of_deployment(was: str, now: str, there: str, back: str) -> None:
    text = changed(ACME, [(was, now)]) if there != "any order" else changed(ACME, [("OrderId", "OrderNumber")])
    old, new = valid(ACME), valid(text)
    assert {change.deploy for change in compare(old, new)} == {there}
    assert {change.deploy for change in compare(new, old)} == {back}


# ---- what is inherited


def inheriting(text: str, *inherited: tuple[str, str]) -> Spec:
    """A spec of which something is inherited from a package called base."""
    read = reader.read(text)
    head = msgspec.structs.replace(read.spec, name="base", package="base", extends=())
    merged = msgspec.structs.replace(read, homes=dict.fromkeys(inherited, "base"), inherited=(head,))
    checks.check(merged)
    return merged


def test_what_is_inherited_is_compared_as_well() -> None:
    old, new = (inheriting(text, ("tokens", "number")) for text in (ACME, changed(ACME, [("max = 99", "max = 98")])))
    assert reported(old, new) == ["wire tokens.number.max"]


def test_a_declaration_that_went_to_another_package_breaks_imports() -> None:
    assert reported(valid(ACME), inheriting(ACME, ("tokens", "number"))) == ["source tokens.number"]
    assert reported(inheriting(ACME, ("tokens", "number")), valid(ACME)) == ["source tokens.number"]


def test_the_root_of_others_is_no_root_of_its_own() -> None:
    inherited = [("subjects", "tick"), ("messages", "Step")]
    old = inheriting(ACME, *inherited)
    moved = [('root = "acme"', 'root = "blue"'), ("acme.", "blue."), ("blue.tick", "acme.tick")]
    new = reader.read(changed(ACME, moved))
    new = msgspec.structs.replace(new, homes=old.homes, inherited=old.inherited)
    checks.check(new)
    assert reported(old, new) == ["wire spec.root"]


# ---- any spec


def declarations(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of all that is declared: what stands in a table, and the values of closed sets."""
    if isinstance(value, msgspec.Struct):
        for field in ("tokens", "messages", "subjects", "streams", "consumers", "profiles", "fields", "params", "enum"):
            if getattr(value, field, None):
                yield from declarations(getattr(value, field), (*path, field))
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield (*path, key)
            yield from declarations(inner, (*path, key))
    elif isinstance(value, tuple):
        yield from ((*path, one) for one in value)


def without(value: Any, path: tuple[str, ...]) -> Any:
    """`value` without what stands at `path`."""
    key, *rest = path
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.replace(value, **{key: without(getattr(value, key), tuple(rest))})
    if isinstance(value, tuple):
        return tuple(one for one in value if one != key)
    return {name: without(inner, tuple(rest)) if name == key else inner for name, inner in value.items() if rest or name != key}


def is_valid(one: Spec) -> bool:
    try:
        checks.check(one)
    except SpecErrors:
        return False
    return True


@st.composite
def specs(draw: st.DrawFn) -> Spec:
    """A spec that is valid, with some of its declarations left out."""
    found = valid(MORE)
    for path in draw(st.lists(st.sampled_from(list(declarations(found))), max_size=12)):
        smaller = without(found, path) if path in set(declarations(found)) else found
        found = smaller if is_valid(smaller) else found
    return found


@settings(max_examples=15, deadline=None)  # each checks several specs as a whole
@given(specs(), st.data())
def test_nothing_has_changed_in_the_same_spec_and_every_removal_is_a_change(one: Spec, data: st.DataObject) -> None:
    assert compare(one, one) == []
    paths = data.draw(st.permutations(list(declarations(one))), "what may be removed")
    path = next((path for path in paths if is_valid(without(one, path))), None)
    assume(path is not None)
    assert path is not None
    assert compare(one, without(one, path)), f"nothing said of {path}"


def test_the_order_of_what_is_reported_does_not_depend_on_the_order_of_the_spec() -> None:
    old, empty = valid(SMITH), valid('[spec]\nname = "x"\nversion = 1\nroot = "smith"\npackage = "smith_sdk"\n')
    turned = msgspec.structs.replace(
        old, subjects=dict(reversed(old.subjects.items())), tokens=dict(reversed(old.tokens.items()))
    )
    changes = compare(old, empty)
    assert changes == compare(turned, empty)
    assert len(changes) == len({(change.kind, change.key) for change in changes})
    assert {change.key for change in changes} >= {
        'subjects."intents.raw"',
        "messages.Intent",
        "streams.SDLC_RAW",
        "tokens.capability",
    }


# ---- the command


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with acme.toml and other/subjects.toml at the tag v1, of which the working tree
    has removed and changed something."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    # the tests may run inside of a checkout
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    here = tmp_path / "repository"
    (here / "other").mkdir(parents=True)
    (here / "acme.toml").write_text(ACME)
    (here / "other" / "subjects.toml").write_text(ACME)
    user = ("-c", "user.name=Test", "-c", "user.email=test@localhost")
    for words in (("init", "-q"), ("add", "."), (*user, "commit", "-q", "-m", "first"), ("tag", "v1")):
        subprocess.run(["git", *words], cwd=here, check=True)
    (here / "acme.toml").write_text(changed(ACME, [(TICK + "\n", ""), ("good|bad", "good|bad|ugly")]))
    monkeypatch.chdir(here)
    return here


def test_a_file_against_its_own_past(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["breaking", "git:v1", "acme.toml"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "wire      subjects.tick: removed: newer readers do not receive it (publishers first)",
        "          deploy all publishers first; what is stored is read only by a consumer that remains",
        "consumer  messages.Done.fields.outcome: ugly added: older readers do not know it (readers first)",
        "          deploy all readers, then the publishers",
        "1 wire, 1 consumer, 0 source",
        READERS,
        "publishers first: newer readers fail on what older publishers send",
        "both orders are needed: make it two deployments, or add the new beside the old",
    ]
    assert main(["breaking", "git:v1", str(repository / "acme.toml"), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["changes"][0] == {
        "kind": "wire",
        "key": "subjects.tick",
        "problem": "removed: newer readers do not receive it",
        "deploy": "publishers first",
        "remedy": "deploy all publishers first; what is stored is read only by a consumer that remains",
    }
    assert {kind: found[kind] for kind in ("wire", "consumer", "source")} == {"wire": 1, "consumer": 1, "source": 0}


def test_what_breaks_the_readers_alone_fails_too(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["breaking", "acme.toml", "git:v1:acme.toml"]) == 1  # a value less
    (repository / "acme.toml").write_text(changed(ACME, [("good|bad", "good|bad|ugly")]))
    capsys.readouterr()
    assert main(["breaking", "git:HEAD", "acme.toml"]) == 1
    found = capsys.readouterr().out.splitlines()
    assert found[-2:] == [
        "0 wire, 1 consumer, 0 source",
        READERS,
    ]
    (repository / "acme.toml").write_text(changed(ACME, [('"finished" = {', '"ended" = {')]))
    assert main(["breaking", "git:HEAD", "acme.toml"]) == 0, "the same on the wire"
    assert capsys.readouterr().out.splitlines()[-2].endswith(" 0 consumer, 1 source")
    assert main(["breaking", "git:HEAD:other/subjects.toml", "git:v1:acme.toml"]) == 0
    assert main(["breaking", "--json", "acme.toml", "acme.toml"]) == 0
    assert capsys.readouterr().out.startswith("nothing breaks\n{")


def test_paths_are_those_of_the_shell(repository: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(repository / "other")
    assert main(["breaking", "git:v1", "git:HEAD"]) == 0  # subjects.toml of this directory
    assert main(["breaking", "git:v1:../acme.toml", "subjects.toml"]) == 0
    (repository / "acme.toml").unlink()
    assert main(["breaking", "git:v1:../acme.toml", "subjects.toml"]) == 0
    monkeypatch.chdir(tmp_path)
    assert main(["breaking", "git:v1", "repository/other/subjects.toml"]) == 0
    (repository / "other" / "subjects.toml").unlink()
    (repository / "other").rmdir()
    assert main(["breaking", "git:v1:repository/other/subjects.toml", "git:v1:repository/acme.toml"]) == 0


@pytest.mark.parametrize(
    ("operand", "words"),
    [
        ("git:v2", "git:v2:acme.toml: no revision 'v2' (git log shows"),
        ("git:v1:gone.toml", "git:v1:gone.toml: no file gone.toml at v1 (say where it was: git:v1:PATH)"),
        ("git:v1:other", "no file other at v1"),
        ("git:", "'' is not a valid revision (write git:REV"),
        ("git:--help", "'--help' is not a valid revision"),
        ("git:v1:../acme.toml", "no git repository at"),
        ("gone.toml", "gone.toml"),
    ],
)
def test_an_operand_that_is_not_there_is_named(
    repository: Path, capsys: pytest.CaptureFixture[str], operand: str, words: str
) -> None:
    assert main(["breaking", operand, "acme.toml"]) == 2
    output = capsys.readouterr()
    assert words in output.err
    assert output.out == ""


def test_without_git_it_says_so(repository: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(repository))
    assert main(["breaking", "git:v1", "acme.toml"]) == 2
    assert "git is not installed" in capsys.readouterr().err


def test_a_git_that_hangs_is_given_up(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = repository / "bin" / "git"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\nexec tail -f /dev/null\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(history, "TIMEOUT", 0.2)
    with pytest.raises(SpecErrors, match="took more than"):
        history.show("v1", "acme.toml")


def test_specs_that_are_wrong_are_refused(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (repository / "acme.toml").write_text(changed(ACME, [('message = "bytes" }', 'message = "Nothing" }')]))
    assert main(["breaking", "git:v1", "acme.toml"]) == 2
    assert "acme.toml" in (said := capsys.readouterr().err)
    assert "unknown message 'Nothing'" in said
    subprocess.run(
        ["git", "-c", "user.name=T", "-c", "user.email=t@localhost", "commit", "-qam", "bad"], cwd=repository, check=True
    )
    (repository / "acme.toml").write_text(ACME)
    assert main(["breaking", "git:HEAD", "acme.toml"]) == 2
    assert "git:HEAD:acme.toml:" in capsys.readouterr().err
