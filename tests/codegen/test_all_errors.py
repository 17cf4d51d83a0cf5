"""Every error of a spec is reported in one run, and nothing that only follows from one."""

from __future__ import annotations

from pathlib import Path

import pytest

from smith_codegen.compile import compile_spec
from smith_codegen.errors import SpecErrors

ACME = Path(__file__).with_name("acme.toml").read_text()
DONE = '"finished" = { pattern = "acme.done.{order_id}", message = "Done", stream = "DONE" }'
TICK = '"tick" = { pattern = "acme.tick", message = "bytes" }'


def refused(*edits: tuple[str, str]) -> list[tuple[str, str]]:
    """Key and problem of each error."""
    text = ACME
    for old, new in edits:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    with pytest.raises(SpecErrors) as found:
        compile_spec(text, "acme.toml")
    return [(error.key, error.problem) for error in found.value.errors]


NAMES = ('steps = { type = "list[Step]", new = [] }', 'steps = { type = "list[Stap]", new = [] }')
FORMS = (TICK, TICK.replace("acme.tick", "acme.*"))
LEVEL = ('"notes.level" = { pattern = "acme.notes.{place}.{level}"', '"notes.level" = { pattern = "acme.notes.{place}.{levl}"')
OVERLAP = ('"paint.shape" = { pattern = "acme.paint.{shape}"', '"paint.shape" = { pattern = "acme.paint.{order_id}"')
LIMIT = ("max_attempts = 3", "max_attempts = 0")
MISSED = ('subjects = ["acme.dead.>"]', 'subjects = ["acme.dead.*.*"]')


def test_errors_of_every_kind_are_reported_in_one_run() -> None:
    keys = [key for key, _ in refused(NAMES, FORMS, OVERLAP, LIMIT, MISSED)]
    assert sorted(keys) == [
        "consumers.buyer.max_attempts",
        "messages.Done.fields.steps",
        'subjects."paint.shape".pattern',
        "subjects.dead.stream",
        "subjects.tick.pattern",
    ]


@pytest.mark.parametrize("edit", [NAMES, FORMS, LEVEL, OVERLAP, LIMIT, MISSED])
def test_one_mistake_is_one_error(edit: tuple[str, str]) -> None:
    assert len(refused(edit)) == 1


def test_what_depends_on_a_mistake_is_not_reported() -> None:
    # its stream has no other subject, and its consumer no other one to filter by
    assert [key for key, _ in refused((DONE, DONE.replace("{order_id}", "{nobody}")))] == ["subjects.finished.pattern"]
    # everything with a kind depends on it
    kind = ('kind = { enum = ["buy.v1", "sell.v1"]', 'kind = { enum = ["buy.v1", "sell"]')
    assert [key for key, _ in refused(kind)] == ["tokens.kind.enum.1"]


def test_units_are_reported_with_what_has_the_wrong_form() -> None:
    found = refused(("max_attempts = 3", "max_atempts = 3"), ('duplicate_window = "90s"', 'duplicate_window = "90 seconds"'))
    assert [key for key, _ in found] == ["streams.ORDERS.duplicate_window", "consumers.buyer.max_atempts"]


FORM = ("max_attempts = 3", "max_atempts = 3")
UNIT = ('duplicate_window = "90s"', 'duplicate_window = "90 seconds"')
MESSAGE = ("[messages.Step]\nfields = {", "[messages.Step]\nfieldz = {")
TOKEN = ('place = { newtype = "Place", exclude = ["all"] }', 'place = { newtyp = "Place" }')


@pytest.mark.parametrize("form", [FORM, UNIT, MESSAGE, TOKEN])
@pytest.mark.parametrize("other", [FORMS, OVERLAP, MISSED])
def test_a_wrong_form_hides_no_other_error_and_makes_none(form: tuple[str, str], other: tuple[str, str]) -> None:
    assert sorted(refused(form, other)) == sorted(refused(form) + refused(other))
    assert len(refused(form)) == 1
