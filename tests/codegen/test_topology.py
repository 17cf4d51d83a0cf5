# ruff: noqa: E501 - one case on one line
"""Every key of streams, consumers and profiles: from the spec to a real server and back; what
contradicts itself is refused by key and line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest
from generated import generated

from smith_codegen import reader
from smith_codegen.breaking.compat import compare
from smith_codegen.compile import compile_spec
from smith_codegen.errors import SpecErrors
from smith_codegen.topology_spec import ConsumerDecl, OriginDecl, OverrideDecl, ProfileDecl, StreamDecl, Strict
from smith_sdk import AsyncSmithBus
from smith_sdk._core.topology.config_keys import CONSUMER, STREAM
from smith_sdk.contract import Origin, Placement, StreamOverride, SubjectTransform
from smith_sdk.errors import TopologyRefused

FILE = Path(__file__).with_name("shop.toml")
SHOP = FILE.read_text()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    with generated(FILE, "shop_bus", tmp_path_factory.mktemp("shop")) as package:
        yield package.topology


def said(decls: list[Any]) -> set[str]:
    """The keys that some of the tables say."""
    return {
        field.name
        for decl in decls
        for field in msgspec.structs.fields(decl)
        if getattr(decl, field.name) not in (field.default, {}, ()) or field.default is msgspec.NODEFAULT
    }


def keys_of(kind: type[Strict]) -> set[str]:
    return {field.name for field in msgspec.structs.fields(kind)} - {"doc"}


def test_the_spec_says_every_key_and_the_runtime_knows_each() -> None:
    read = reader.read(SHOP)
    streams = [*read.streams.values()]
    assert said(streams) == keys_of(StreamDecl)
    assert said([origin for stream in streams for origin in stream.origins]) == keys_of(OriginDecl)
    assert said([*read.consumers.values()]) == keys_of(ConsumerDecl)
    assert said([*read.profiles.values()]) | {"replicas"} == keys_of(ProfileDecl)
    assert said([one for profile in read.profiles.values() for one in profile.streams.values()]) == keys_of(OverrideDecl)
    given = {"replicas", "description"}  # from the profile, and from `doc`
    assert {one.field or one.key for one in STREAM} == (keys_of(StreamDecl) - {"external"}) | given
    worker = {"stream", "max_attempts", "prefetch", "publishes", "filter"}
    assert {one.field or one.key for one in CONSUMER} == (keys_of(ConsumerDecl) - worker) | {"description"}
    assert {field.name for field in msgspec.structs.fields(StreamOverride)} == keys_of(OverrideDecl) | {"stream"}


def test_what_is_generated_says_it_too(shop: ModuleType) -> None:
    contract = shop.CONTRACT
    orders = contract.stream("ORDERS")
    assert (orders.max_age, orders.subject_delete_marker_ttl, orders.metadata) == (
        604800.0,
        3600.0,
        (("owner", "sales"), ("tier", "1")),
    )
    assert contract.stream("COPY").mirror == Origin(
        name="ORDERS", filter_subject="shop.orders.*", opt_start_time="2025-01-01T00:00:00Z"
    )
    assert contract.stream("EVERYTHING").sources[1].subject_transforms == (
        SubjectTransform(src="shop.prices.*", dest="old.prices.{{wildcard(1)}}"),
    )
    assert (contract.consumers[0].max_bytes, contract.consumers[0].priority_groups) == (2**20, ("buyers",))
    assert contract.consumers[1].filters == ()
    assert contract.consumers[2].filters == ("shop.orders.a", "shop.orders.b")
    dev = {stream.name: stream for stream in contract.profile("dev")}
    assert (dev["ORDERS"].max_bytes, dev["ORDERS"].max_age) == (80 * 2**20, 302400.0)
    assert (dev["PRICES"].max_bytes, dev["PRICES"].max_age, dev["PRICES"].placement) == (
        10 * 2**20,
        3600.0,
        Placement(cluster="", tags=("hdd",)),
    )
    assert dev["COUNTS"].storage == "memory"
    assert hash(contract.profiles) == hash(contract.profiles)


async def test_a_real_server_takes_all_of_it_and_nothing_differs_afterwards(
    shop: ModuleType, make_server: Callable[..., Any]
) -> None:
    async with AsyncSmithBus(make_server().url, contract=shop.CONTRACT) as bus:
        plan = await bus.streams.plan("dev")
        assert {step.kind for step in plan.changes} == {"create"}
        await bus.streams.apply(plan)
        assert str(await bus.streams.plan("dev")) == "nothing to do"
        consumer = await bus._session.api.consumer_info("ORDERS", "buyer")
        assert consumer["paused"]


def test_the_canonical_form_is_read_back_and_leaves_defaults_out() -> None:
    read = reader.read(SHOP)
    again = reader.read_canonical(read.canonical, "shop.json")
    assert again.canonical == read.canonical
    assert '"opt_start_time": "2025-01-01T00:00:00Z"' in read.canonical
    same = SHOP.replace('"7d"\nmax_msg_size = "1MiB"', '"168h"\nmax_msg_size = 1_048_576').replace("ages = 0.5", "ages = 0.50")
    same = same.replace(
        "[streams.COUNTS]", '[streams.COUNTS]\ndoc = "words"\ndiscard = "old"\nstorage = "file"\nsources = []\nmetadata = {}'
    )
    assert reader.read(same).hash == read.hash
    assert reader.read(SHOP.replace("allow_atomic = true\n", "")).hash != read.hash


CASES = {
    "unknown key of a table": ('placement = { tags = ["ssd"] }', 'placement = { tag = ["ssd"] } # !', "streams.ORDERS.placement.tag", "did you mean `tags`"),
    "unknown key of a source": ("{ name = \"ORDERS\", opt_start_seq = 5 },", "{ name = \"ORDERS\", start = 5 }, # !", "streams.EVERYTHING.sources.0.start", "unknown key"),
    "unknown key of an override": ('max_msgs = 50\n', 'max_msg = 50 # !\n', "profiles.dev.streams.PRICES.max_msg", "did you mean `max_msgs`"),
    "no such compression": ('compression = "s2"\nallow_direct', 'compression = "zstd" # !\nallow_direct', "streams.ORDERS.compression", "one of none, s2"),
    "no duration inside": ('inactive_threshold = "30d" }', 'inactive_threshold = "month" } # !', "streams.ORDERS.consumer_limits.inactive_threshold", "not a duration"),
    "no time": ('pause_until = "2035-01-01T00:00:00Z"', 'pause_until = "2035-01-01T00:00:00" # !', "consumers.buyer.pause_until", "RFC 3339"),
    "no time in a source": ('opt_start_time = "2025-01-01T01:00:00+01:00" }', 'opt_start_time = "soon" } # !', "streams.COPY.mirror.opt_start_time", "RFC 3339"),
    "per subject without discard new": ('discard = "new"\ndiscard_new_per_subject = true', "discard_new_per_subject = true # !", "streams.ORDERS.discard_new_per_subject", 'discard = "new"'),
    "per subject without a number": ("max_msgs_per_subject = 10\n", "", "streams.ORDERS.discard_new_per_subject", "max_msgs_per_subject"),
    "a mirror with subjects": ("[streams.COPY]", '[streams.COPY]\nsubjects = ["shop.copy"] # !', "streams.COPY.subjects", "10034"),
    "a mirror with sources": ("[streams.COPY]", '[streams.COPY]\nsources = [{ name = "PRICES" }] # !', "streams.COPY.sources", "10031"),
    "a mirror with batches": ("[streams.COPY]", "[streams.COPY]\nallow_atomic = true # !", "streams.COPY.allow_atomic", "refused by the server for a mirror"),
    "a source that is none": ('{ name = "PRICES", subject_t', '{ name = "PRICE", subject_t', "streams.EVERYTHING.sources.1.name", "did you mean PRICES"),
    "a stream that feeds itself": ("[streams.COUNTS]", '[streams.COUNTS]\nsources = [{ name = "EVERYTHING" }, { name = "COUNTS" }] # !', "streams.COUNTS.sources.1.name", "feed itself"),
    "a source twice": ('{ name = "FAR", ', '{ name = "ORDERS", opt_start_seq = 5 }, # !\n    { name = "FAR", ', "streams.EVERYTHING.sources.2", "10140"),
    "filter and transform": ('{ name = "PRICES", subject_t', '{ name = "PRICES", filter_subject = "a", subject_t', "streams.EVERYTHING.sources.1.filter_subject", "10144"),
    "schedules with sources": ('[streams.EVERYTHING]', '[streams.EVERYTHING]\nallow_msg_schedules = true # !', "streams.EVERYTHING.allow_msg_schedules", "10187"),
    "a counter with discard new": ("allow_msg_counter = true", 'allow_msg_counter = true # !\ndiscard = "new"', "streams.COUNTS.allow_msg_counter", "discard"),
    "a counter in a queue": ("allow_msg_counter = true", 'allow_msg_counter = true # !\nretention = "workqueue"', "streams.COUNTS.allow_msg_counter", "retention"),
    "async in memory": ('persist_mode = "async"', 'persist_mode = "async" # !\nstorage = "memory"', "streams.PRICES.persist_mode", "file storage"),
    "roll-ups without purge": ("deny_delete = true\n", "deny_delete = true\nallow_rollup_hdrs = true # !\n", "streams.PRICES.allow_rollup_hdrs", "deny_purge"),
    "schedules without purge": ("allow_msg_schedules = true", "allow_msg_schedules = true # !\ndeny_purge = true", "streams.LATE.allow_msg_schedules", "drops deny_purge"),
    "markers that are too short": ('subject_delete_marker_ttl = "1h"', 'subject_delete_marker_ttl = "500ms" # !', "streams.ORDERS.subject_delete_marker_ttl", "shorter than 1 s"),
    "markers without ttl": ("allow_msg_ttl = true\nsubject_delete_marker_ttl = \"1h\"", 'allow_msg_ttl = false\nsubject_delete_marker_ttl = "1h" # !', "streams.ORDERS.subject_delete_marker_ttl", "allow_msg_ttl"),
    "an age that is too short": ('max_age = "7d"', 'max_age = "50ms" # !', "streams.ORDERS.max_age", "shorter than 0.1 s"),
    "no number": ("max_consumers = 10", "max_consumers = 0 # !", "streams.ORDERS.max_consumers", "less than 1"),
    "republished into itself": ('dest = "live.orders.{{wildcard(1)}}", headers_only = true }', 'dest = "shop.orders.x" } # !', "streams.ORDERS.republish.dest", "same stream"),
    "republished to nonsense": ('dest = "live.orders.{{wildcard(1)}}", headers_only = true }', 'dest = "live orders" } # !', "streams.ORDERS.republish.dest", "not a valid subject"),
    "the server's metadata": ('metadata = { owner = "sales", tier = "1" }', 'metadata = { "_nats.level" = "9" } # !', 'streams.ORDERS.metadata."_nats.level"', "reserved for the server"),
    "an empty placement": ('placement = { tags = ["ssd"] }', "placement = {} # !", "streams.ORDERS.placement", "neither"),
    "nothing captured": ("[streams.COUNTS]", '[streams.NONE] # !\n[streams.COUNTS]', "streams.NONE.subjects", "is empty"),
    "a batch below the prefetch": ("max_batch = 100", "max_batch = 9 # !", "consumers.buyer.max_batch", "prefetch"),
    "a pull that is too short": ('max_expires = "60s"', 'max_expires = "10s" # !', "consumers.buyer.max_expires", "30 s"),
    "a start without a policy": ('deliver_policy = "by_start_time"\nopt_start_time', "opt_start_time", "consumers.copier.opt_start_time", "10094"),
    "a policy without a start": ('deliver_policy = "by_start_time"\nopt_start_time = "2025-01-01T00:00:00Z"', 'deliver_policy = "by_start_time"', "consumers.copier.opt_start_time", "10094"),
    "a policy without a filter": ('deliver_policy = "by_start_time"\nopt_start_time = "2025-01-01T00:00:00Z"', 'deliver_policy = "last_per_subject" # !', "consumers.copier.deliver_policy", "needs a filter"),
    "groups without a policy": ('priority_policy = "pinned_client"\n', "", "consumers.buyer.priority_groups", "10196"),
    "a policy without groups": ('priority_groups = ["buyers"]\n', "", "consumers.buyer.priority_policy", "10159"),
    "a group with a space": ('priority_groups = ["buyers"]', 'priority_groups = ["the buyers"] # !', "consumers.buyer.priority_groups.0", "10162"),
    "a timeout that means nothing": ('priority_policy = "pinned_client"', 'priority_policy = "overflow"', "consumers.buyer.priority_timeout", "pinned_client"),
    "no share of acks": ('sample_freq = "50%"', 'sample_freq = "half" # !', "consumers.buyer.sample_freq", "10095"),
    "more than the stream allows": ("max_ack_pending = 5_000", "max_ack_pending = 500", "consumers.buyer.max_ack_pending", "10121"),
    "longer than the stream allows": ('inactive_threshold = "30d" }', 'inactive_threshold = "1d" }', "consumers.buyer.inactive_threshold", "10153"),
    "too many replicas": ("replicas = 1\nmem_storage", "replicas = 9 # !\nmem_storage", "consumers.buyer.replicas", "1 to 5"),
    "messages without a type": ('stream = "COPY"', 'stream = "LATE2" # !', "consumers.copier.stream", "unknown stream"),
    "two filters that meet": ('order_id = "b" }', 'order_id = "a" } # !', "consumers.picker.filters.1", "10138"),
    "a filter of nothing": ('{ subject = "orders", order_id = "b" }', '{ subject = "order", order_id = "b" } # !', "consumers.picker.filters.1", "unknown subject"),
    "a filter of another stream": ('{ subject = "orders", order_id = "b" }', '{ subject = "late", order_id = "b" } # !', "consumers.picker.filters.1.subject", "is stored in LATE"),
    "both forms of filters": ('filter = { subject = "orders" }', 'filter = { subject = "orders" }\nfilters = [{ subject = "orders" }] # !', "consumers.buyer.filters", "together with filter"),
    "no factor": ("ages = 0.5", "ages = 0 # !", "profiles.dev.ages", "factor"),
    "an override of nothing": ("[profiles.dev.streams.COUNTS]", "[profiles.dev.streams.COUNT] # !", "profiles.dev.streams.COUNT", "unknown stream"),
    "a budget that is used up": ('fit = "90MiB"', 'fit = "10MiB" # !', "profiles.dev.fit", "used up"),
    "async in memory by a profile": ('compression = "s2"\nplacement', 'storage = "memory" # !\nplacement', "profiles.dev.streams.PRICES.storage", "memory"),
    "an override with no number": ("max_msgs = 50\n", "max_msgs = 0 # !\n", "profiles.dev.streams.PRICES.max_msgs", "less than 1"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_can_never_work_is_refused(case: str) -> None:
    old, new, key, words = CASES[case]
    assert SHOP.count(old) == 1, "the case changes one place"
    text = SHOP.replace(old, new)
    with pytest.raises(SpecErrors) as refused:
        compile_spec(text, "shop.toml")
    found = {error.key: error for error in refused.value.errors}
    assert key in found, str(refused.value)
    assert words in f"{found[key].problem} {found[key].fix}"
    marked = [number for number, line in enumerate(text.splitlines(), 1) if re.search(r"# !$", line)]
    assert not marked or found[key].line in marked
    assert found[key].line


def test_a_stream_with_too_few_places_for_its_consumers() -> None:
    buyer = SHOP[SHOP.index("[consumers.buyer]") : SHOP.index('deliver_policy = "by_start_seq')]
    text = SHOP.replace("max_consumers = 10", "max_consumers = 1") + "\n" + buyer.replace("buyer", "other")
    with pytest.raises(SpecErrors, match="2 consumers are declared"):
        compile_spec(text)


def test_a_consumer_of_what_has_no_type_is_refused() -> None:
    elsewhere = 'mirror = { name = "FAR", external = { api = "$JS.far.API" } }'
    text = re.sub(r"^mirror = .*$", elsewhere, SHOP, flags=re.MULTILINE)
    with pytest.raises(SpecErrors, match="no subject of this spec reaches COPY"):
        compile_spec(text)


def changed(old: str, new: str) -> list[tuple[str, str]]:
    assert SHOP.count(old) == 1
    return [(one.kind, one.key) for one in compare(reader.read(SHOP), reader.read(SHOP.replace(old, new)))]


def test_what_breaks_on_the_wire() -> None:
    assert changed('    { name = "ORDERS", opt_start_seq = 5 },\n', "") == [("wire", "streams.EVERYTHING.sources")]
    assert changed('filter_subject = "shop.orders.*", opt', 'filter_subject = "shop.orders.a", opt') == [
        ("wire", "streams.COPY.mirror")
    ]
    assert changed('dest = "live.orders.{{wildcard(1)}}"', 'dest = "live.{{wildcard(1)}}"') == [
        ("wire", "streams.ORDERS.republish")
    ]
    assert changed('dest = "shop.orders.new"', 'dest = "shop.orders.newer"') == [("wire", "streams.ORDERS.subject_transform")]
    assert changed("allow_atomic = true\n", "") == [("wire", "streams.ORDERS.allow_atomic")]
    assert changed('order_id = "b" }', 'order_id = "c" }') == [("consumer", "consumers.picker.filters")]
    # With `discard = "new"` a smaller stream refuses what publishers may send.
    assert changed('max_bytes = "100MiB"', 'max_bytes = "90MiB"') == [("wire", "streams.ORDERS.max_bytes")]
    assert changed('max_bytes = "100MiB"', 'max_bytes = "110MiB"') == []
    assert changed("max_msgs = 50\n", "") == []


async def test_the_contract_says_what_the_server_refuses(shop: ModuleType, make_server: Callable[..., Any]) -> None:
    three = tuple(msgspec.structs.replace(one, replicas=3) for one in shop.CONTRACT.profiles)
    contract = msgspec.structs.replace(shop.CONTRACT, profiles=three)
    async with AsyncSmithBus(make_server().url, contract=contract) as bus:
        with pytest.raises(TopologyRefused, match="single server"):
            await bus.streams.apply(profile="dev")
