# ruff: noqa: E501 - one case on one line
"""`[domains]`: consumers that are declared for groups of domains, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from generated import generated
from hypothesis import given, settings
from hypothesis import strategies as st

from smith_codegen import domains, sources
from smith_codegen.breaking.compat import compare
from smith_codegen.compile import compile_spec
from smith_codegen.errors import SpecErrors
from smith_codegen.permissions import RoleError, block
from smith_sdk import consumers
from smith_sdk.contract.domain_names import derived_name

SPEC = """
[spec]
name = "depot"
version = 1
root = "depot"
package = "depot_bus"

[tokens]
domain = { newtype = "Domain", exclude = ["none"] }
kind = { enum = ["a.v1", "b.v1"] }

[messages.Job]
by = "kind"
fields = { domain = "Domain" }
[messages.Job.params]
"a.v1" = {}
"b.v1" = {}

[subjects]
"jobs" = { pattern = "depot.jobs.{kind}.{domain}", message = "Job", stream = "JOBS" }
"todo" = { pattern = "depot.todo.{domain}", message = "bytes", stream = "TODO" }

[streams.JOBS]
subjects = ["depot.jobs.>"]
retention = "interest"
[streams.TODO]
subjects = ["depot.todo.*"]
retention = "workqueue"

[consumers.do-a]
stream = "JOBS"
filter = { subject = "jobs", kind = "a.v1" }
ack_wait = "5s"
max_attempts = 3
max_ack_pending = 10
prefetch = 5
[consumers.do-b]
stream = "JOBS"
filter = { subject = "jobs", kind = "b.v1" }
ack_wait = "5s"
max_attempts = 3
max_ack_pending = 10
prefetch = 5
[consumers.todo]
stream = "TODO"
filter = { subject = "todo" }
ack_wait = "5s"
max_attempts = 3
max_ack_pending = 10
prefetch = 5
[consumers.home]
stream = "JOBS"
filter = { subject = "jobs", kind = "b.v1", domain = "home" }
ack_wait = "5s"
max_attempts = 3
max_ack_pending = 10
prefetch = 5
"""

GROUPS = """
[domains.europe]
doc = "Served from Dublin."
domains = ["uk", "eu"]
consumers = ["do-a", "todo"]

[domains.america]
domains = ["us"]
consumers = ["do-a"]
"""


@pytest.fixture(scope="module")
def depot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    top = tmp_path_factory.mktemp("depot")
    (top / "depot.toml").write_text(SPEC + GROUPS)
    with generated(top / "depot.toml", "depot_bus", top) as package:
        yield package.topology


def test_a_group_declares_one_consumer_for_each_that_it_names_in_its_place(depot: ModuleType) -> None:
    found = {one.name: one for one in depot.CONTRACT.consumers}
    assert list(found) == ["do-b", "home", "do-a--eu--uk", "todo--eu--uk", "do-a--us"]
    assert found["do-a--eu--uk"].filters == ("depot.jobs.a.v1.eu", "depot.jobs.a.v1.uk")
    assert found["todo--eu--uk"].filters == ("depot.todo.eu", "depot.todo.uk")
    assert found["do-a--us"] == depot.consumers.do_a.for_domains("us")
    assert found["do-a--eu--uk"].ack_wait == depot.consumers.do_a.ack_wait


def test_a_spec_without_groups_has_the_hash_that_it_had() -> None:
    assert '"domains"' not in sources.parse(SPEC, "depot.toml").canonical
    assert '"domains"' in sources.parse(SPEC + GROUPS, "depot.toml").canonical


def test_the_canonical_form_reads_back_with_its_groups() -> None:
    spec = sources.parse(SPEC + GROUPS, "depot.toml")
    again = sources.parse(spec.canonical, "spec.json")
    assert again.domains["europe"].domains == ("uk", "eu")
    assert again.canonical == spec.canonical


def test_with_beside_any_domain_the_consumer_for_all_domains_stays(tmp_path: Path) -> None:
    group = '[domains.x]\ndomains = ["eu"]\nconsumers = ["do-a"]\nbeside_any_domain = true\n'
    (tmp_path / "shed.toml").write_text(SPEC.replace("depot_bus", "shed_bus") + group)
    with generated(tmp_path / "shed.toml", "shed_bus", tmp_path) as package:
        names = [one.name for one in package.topology.CONTRACT.consumers]
    assert names == ["do-a", "do-b", "todo", "home", "do-a--eu"]


def test_a_package_declares_groups_of_consumers_that_it_inherits(tmp_path: Path) -> None:
    """Also of one that the package it extends has in a group itself."""
    (tmp_path / "base.toml").write_text(SPEC.replace("depot_bus", "base_bus") + GROUPS)
    mine = '[spec]\nname = "mine"\nversion = 1\nroot = "mine"\npackage = "mine_bus"\nextends = ["base_bus"]\n'
    mine += '[domains.asia]\ndomains = ["jp"]\nconsumers = ["do-a", "do-b"]\n'
    (tmp_path / "mine.toml").write_text(mine)
    with (
        generated(tmp_path / "base.toml", "base_bus", tmp_path),
        generated(tmp_path / "mine.toml", "mine_bus", tmp_path) as package,
    ):
        contract = package.topology.CONTRACT
        names = [one.name for one in contract.consumers]
        assert names == ["home", "do-a--eu--uk", "todo--eu--uk", "do-a--us", "do-a--jp", "do-b--jp"]
        assert contract.owner("JOBS", "do-a--us").name == "depot"
        assert contract.owner("JOBS", "do-a--jp").name == "mine"


REFUSED = {
    "no such consumer": ('[domains.x]\ndomains = ["eu"]\nconsumers = ["do-c"] # !\n', "domains.x.consumers.0", "unknown consumer 'do-c'"),
    "no open domain": ('[domains.x]\ndomains = ["eu"]\nconsumers = ["home"] # !\n', "domains.x.consumers.0", "not filtered by a subject with an open {domain}"),
    "a domain twice": ('[domains.x]\ndomains = ["eu", "eu"] # !\nconsumers = ["do-a"]\n', "domains.x.domains.1", "'eu' is listed twice"),
    "a consumer twice": ('[domains.x]\ndomains = ["eu"]\nconsumers = ["do-a", "do-a"] # !\n', "domains.x.consumers.1", "'do-a' is listed twice"),
    "no domain": ('[domains.x]\ndomains = [] # !\nconsumers = ["do-a"]\n', "domains.x.domains", "is empty"),
    "no token": ('[domains.x]\ndomains = ["e.u"] # !\nconsumers = ["do-a"]\n', "domains.x.domains.0", "'e.u' cannot be a domain"),
    "an excluded token": ('[domains.x]\ndomains = ["none"] # !\nconsumers = ["do-a"]\n', "domains.x.domains.0", "'none' cannot be a domain"),
    "unknown key": ('[domains.x]\ndomains = ["eu"]\nconsumers = ["do-a"]\nalso = 1 # !\n', "domains.x.also", "unknown key"),
    "in two groups": ('[domains.x]\ndomains = ["eu"]\nconsumers = ["do-a"]\n[domains.y]\ndomains = ["us", "eu"] # !\nconsumers = ["do-a"]\n', "domains.y.domains", "eu of do-a is in group x already"),
    "all domains beside a work queue's": ('[domains.x]\ndomains = ["eu"]\nconsumers = ["todo"]\nbeside_any_domain = true # !\n', "domains.x.beside_any_domain", "(10100)"),
    "beside in one group only": ('[domains.x]\ndomains = ["eu"]\nconsumers = ["do-a"]\nbeside_any_domain = true\n[domains.y] # !\ndomains = ["us"]\nconsumers = ["do-a"]\n', "domains.y", "does not say so"),
    "a name that is taken": ('[consumers.do-a--eu]\nstream = "JOBS"\nfilter = { subject = "jobs", kind = "b.v1" }\nack_wait = "5s"\nmax_attempts = 3\nmax_ack_pending = 10\nprefetch = 5\n[domains.x]\ndomains = ["eu"]\nconsumers = ["do-a"] # !\n', "domains.x.consumers", "do-a--eu is declared in [consumers] already"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "key", "problem"), REFUSED.values(), ids=REFUSED)
def test_refused_by_key_and_line(text: str, key: str, problem: str) -> None:
    whole = SPEC + text
    line = next(number for number, one in enumerate(whole.splitlines(), 1) if one.endswith("# !"))
    with pytest.raises(SpecErrors) as caught:
        compile_spec(whole)
    (error,) = caught.value.errors
    assert (error.key, error.line) == (key, line)
    assert problem in error.problem


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(alphabet="ab-_", min_size=1, max_size=40), min_size=1, max_size=5, unique=True))
def test_generator_and_runtime_make_the_same_name_whatever_the_order(names: list[str]) -> None:
    wanted = derived_name("executor-fs-read", sorted(names))
    assert domains.derived_name("executor-fs-read", names) == wanted
    assert consumers.executor_fs_read.for_domains(*reversed(names)).name == wanted


def test_roles_know_derived_consumers_and_not_their_templates() -> None:
    spec = sources.parse(SPEC + GROUPS, "depot.toml")
    asked = block(spec, "worker", consumers=["do-a--eu--uk"]).publish
    assert "$JS.API.CONSUMER.MSG.NEXT.JOBS.do-a--eu--uk" in asked
    assert "$JS.API.CONSUMER.INFO.JOBS.do-a--us" in block(spec, "health").publish
    with pytest.raises(RoleError, match="do-a--us"):
        block(spec, "worker", consumers=["do-a"])


def test_a_role_for_a_consumer_that_code_derives() -> None:
    spec = sources.parse(SPEC, "depot.toml")
    assert "$JS.API.CONSUMER.INFO.JOBS.do-a--x--y" in block(spec, "worker", consumers=["do-a--x--y"]).publish
    for wrong in ("do-a--y--x", "do-z--x", "home--x", "do-a----x"):
        with pytest.raises(RoleError, match="declares no consumer"):
            block(spec, "worker", consumers=[wrong])


def test_a_change_of_groups_is_a_breaking_change_that_names_the_way() -> None:
    old, new = sources.parse(SPEC, "depot.toml"), sources.parse(SPEC + GROUPS, "depot.toml")
    found = [change for change in compare(old, new) if change.key == "domains"]
    assert [change.kind for change in found] == ["consumer", "consumer"]
    assert "do-a is not declared any more" in found[0].problem
    assert "smith domains move" in found[0].problem
    assert list(compare(new, new)) == []
