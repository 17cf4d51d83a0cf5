"""The reference's topology, ported to the letter, is refused for each of its faults, and for
nothing else.

`reference.toml` is the port. Each fault below has the errors that it gives and a mend, as text to
replace; a mend takes away the errors of its own fault and no other. A pattern that cannot be read
hides the errors of what depends on it, so the faults come in two stages.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from smith_codegen import reader
from smith_codegen.compile import compile_spec
from smith_codegen.errors import SpecErrors
from smith_codegen.topology_spec import StreamDecl

HERE = Path(__file__).parent
PORT = (HERE / "reference.toml").read_text()
SMITH = reader.read((HERE.parents[1] / "subjects.toml").read_text())


class Fault(msgspec.Struct, frozen=True):
    """Something that is wrong with the port: what mends it, as text to replace, and the words of
    its errors by key."""

    mend: dict[str, str]
    errors: dict[str, str]
    stage: int = 1


def executors(*capabilities: str) -> str:
    """A consumer for each of these capabilities."""
    return "".join(
        f'[consumers.executor-{capability.rpartition(".")[0].replace(".", "-")}]\nstream = "ATOMS_VETTED"\n'
        f'filter = {{ subject = "intents.vetted", capability = "{capability}" }}\n'
        'ack_wait = "60s"\nmax_attempts = 3\nmax_ack_pending = 1000\nprefetch = 50\n\n'
        for capability in capabilities
    )


FAULTS = {
    "an optional suffix inside a pattern": Fault(
        mend={"smith.intents.raw.{capability}[.shard.{shard}]": "smith.intents.raw.{capability}.shard.{shard}"},
        errors={'subjects."intents.raw_shard".pattern': "a last token that may be absent is {name?}"},
        stage=0,
    ),
    "raw.* cannot capture the three tokens of a capability": Fault(
        mend={'["smith.intents.raw.*"]': '["smith.intents.raw.>"]'},
        errors={
            'subjects."intents.raw".stream': "SDLC_RAW (smith.intents.raw.*) captures none of smith.intents.raw.{capability}",
            'subjects."intents.raw_shard".stream': "captures none of smith.intents.raw.{capability}.shard.{shard}",
        },
    ),
    "nor can vetted.*": Fault(
        mend={'["smith.intents.vetted.*"]': '["smith.intents.vetted.*.*.*.*"]'},
        errors={'subjects."intents.vetted".stream': "captures none of smith.intents.vetted.{capability}.{domain}"},
    ),
    "vetted intents that no executor asks for are dropped": Fault(
        mend={"[consumers.http-results]": executors("git.clone.v1", "shell.exec.v1") + "[consumers.http-results]"},
        errors={
            "streams.ATOMS_VETTED.retention": "none receives smith.intents.vetted.git.clone.v1.*, smith.intents.vetted.shell.exec.v1.*"
        },
    ),
    "an audit trail that nobody asks for is not kept for a year": Fault(
        mend={'["smith.audit.>"]\nretention = "interest"': '["smith.audit.>"]\nretention = "limits"'},
        errors={
            "streams.AUDIT_SECURITY.retention": "none receives smith.audit.execution.*, smith.audit.policy.*, smith.audit.security.*"
        },
    ),
    "the subjects of before there were stages": Fault(
        mend={'"intents.by_capability" = { pattern = "smith.intents.{capability}.{domain}", message = "Intent" }\n': ""},
        errors={
            'subjects."intents.by_capability".pattern': "smith.intents.*.*.*.*, also receives QuarantinedIntent of intents.quarantine"
        },
    ),
    "logs of a service that is called errors or performance": Fault(
        mend={
            "smith.logs.{service}.{level}": "smith.logs.{log_service}.{level}",
            "[tokens]": '[tokens]\nlog_service = { newtype = "LogService", exclude = ["errors", "performance"] }',
        },
        errors={
            'subjects."logs.errors".pattern': "could be this subject or logs.service",
            'subjects."logs.performance".pattern': "could be this subject or logs.service",
        },
    ),
    "two consumers of the same work": Fault(
        mend={
            'stream = "SDLC_RAW"\nfilter = { subject = "intents.raw"': 'stream = "ATOMS_VETTED"\nfilter = { subject = "intents.vetted"'
        },
        errors={"consumers.fs-reader": "its filter overlaps that of admission on SDLC_RAW"},
    ),
}


def mended(*names: str) -> str:
    """The port without these faults."""
    text = PORT
    for name in names:
        for old, new in FAULTS[name].mend.items():
            assert text.count(old) == 1, old
            text = text.replace(old, new)
    return text


def errors(text: str) -> dict[str, str]:
    """The full text of everything that a spec is refused for, by key."""
    found: dict[str, str] = {}
    try:
        compile_spec(text, "reference.toml")
    except SpecErrors as refused:
        for error in refused.errors:
            found[error.key] = f"{found.get(error.key, '')}{error}\n"
    return found


HIDDEN = {
    'subjects."intents.raw_shard".stream',
    "streams.ATOMS_VETTED.retention",
    "streams.AUDIT_SECURITY.retention",
}
"""Keys of stage 1 that are judged only when every pattern can be read: the stream of the subject
with the fault of stage 0, and whether every subject of a stream has a consumer."""


def before(stage: int) -> list[str]:
    """The faults that would hide those of this stage."""
    return [name for name, fault in FAULTS.items() if fault.stage < stage]


@pytest.mark.parametrize("stage", [0, 1])
def test_every_fault_is_refused_and_nothing_else(stage: int) -> None:
    found = errors(mended(*before(stage)))
    faults = [fault for fault in FAULTS.values() if fault.stage >= stage]
    expected = {key: words for fault in faults for key, words in fault.errors.items() if stage or key not in HIDDEN}
    assert found.keys() == expected.keys()
    for key, words in expected.items():
        assert words in found[key]


@pytest.mark.parametrize("name", [name for name, fault in FAULTS.items() if fault.stage == 1])
def test_a_mend_takes_away_its_own_errors_only(name: str) -> None:
    found, left = errors(mended(*before(1))), errors(mended(*before(1), name))
    assert left.keys() == found.keys() - FAULTS[name].errors.keys()


OWN = {"SDLC_QUARANTINE_BACKPRESSURE": ("max_age",), "ATOMS_VETTED": ("subjects",), "SDLC_RAW": ("subjects",)}
"""What Smith's own spec has otherwise though the port is not wrong: nobody but a person or a rule
may end a quarantine, shards have subjects of their own, and raw intents have none."""


def test_mended_it_is_the_topology_of_smith() -> None:
    text = mended(*FAULTS)
    assert errors(text) == {}
    port = reader.read(text)
    for name, stream in port.streams.items():
        smiths_own = {key: getattr(SMITH.streams[name], key) for key in OWN.get(name, ())}
        assert without_doc(msgspec.structs.replace(stream, **smiths_own)) == without_doc(SMITH.streams[name])
    for name in port.subjects.keys() - {"intents.raw_shard"}:
        mine, smiths = port.subjects[name], SMITH.subjects[name]
        assert (mine.pattern, mine.message, mine.stream) == (smiths.pattern, smiths.message, smiths.stream)


def without_doc(stream: StreamDecl) -> StreamDecl:
    return msgspec.structs.replace(stream, doc="")
