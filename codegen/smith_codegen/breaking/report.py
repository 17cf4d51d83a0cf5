"""What `breaking` writes: text, JSON, GitHub annotations, or JUnit XML."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal, get_args
from xml.etree import ElementTree

import msgspec

from .. import locate
from ..spec import Spec
from ..subject_spec import IgnoreDecl
from .change import KINDS, Change
from .rule import Deploy, Kind

Format = Literal["text", "json", "github", "junit"]
FORMATS: Final[tuple[Format, ...]] = get_args(Format)

_ORDERS: Final[dict[Deploy, str]] = {
    "readers first": "older readers fail on what newer publishers send",
    "publishers first": "newer readers fail on what older publishers send",
    "side by side": "both sides fail, in any order",
    "on apply": "the server changes with `smith streams apply`, whichever programs run",
    "any order": "only code that is checked against the new version fails",
}
"""Which side breaks, by the order of deployment."""


class Report(msgspec.Struct, frozen=True):
    """What was found. `failing` are the kinds that make the exit status 1."""

    changes: Sequence[Change]
    ignored: Sequence[tuple[Change, str]]
    unused: Sequence[IgnoreDecl]
    failing: Sequence[Kind]

    @property
    def status(self) -> int:
        """The exit status."""
        return int(any(change.kind in self.failing for change in self.changes))

    @property
    def counts(self) -> dict[Kind, int]:
        """How many changes there are of each kind."""
        return {kind: sum(change.kind == kind for change in self.changes) for kind in KINDS}


def sort_out(changes: Iterable[Change], spec: Spec, fail_on: Kind) -> Report:
    """Leave out what the new spec ignores; `fail_on` is the least kind that fails."""
    reasons = {one.key: one.reason for one in spec.ignored}
    every = list(changes)
    return Report(
        changes=[change for change in every if change.key not in reasons],
        ignored=[(change, reasons[change.key]) for change in every if change.key in reasons],
        unused=[one for one in spec.ignored if one.key not in {change.key for change in every}],
        failing=KINDS[: KINDS.index(fail_on) + 1],
    )


def text(report: Report, _: Spec) -> str:
    """For people."""
    lines = [line for change in report.changes for line in _entry(change)]
    lines += [f"ignored   {change.key}: {change.problem} ({reason})" for change, reason in report.ignored]
    lines += [f"unused    spec.breaking.ignore: {one.key} is not reported: remove it" for one in report.unused]
    counts = report.counts
    lines.append(", ".join(f"{count} {kind}" for kind, count in counts.items()) if report.changes else "nothing breaks")
    orders = {change.deploy for change in report.changes}
    lines += [f"{order}: {meaning}" for order, meaning in _ORDERS.items() if order in orders]
    if {"readers first", "publishers first"} <= orders:
        lines.append("both orders are needed: make it two deployments, or add the new beside the old")
    return "\n".join(lines) + "\n"


def _entry(change: Change) -> tuple[str, str]:
    return f"{change.kind:<10}{change.key}: {change.problem} ({change.deploy})", f"{'':<10}{change.remedy}"


def as_json(report: Report, _: Spec) -> str:
    """For programs."""
    found: dict[str, Any] = {
        "changes": [_plain(change) for change in report.changes],
        **{str(kind): count for kind, count in report.counts.items()},
        "ignored": [{**_plain(change), "reason": reason} for change, reason in report.ignored],
        "unused": [one.key for one in report.unused],
    }
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


def _plain(change: Change) -> dict[str, str]:
    return {name: getattr(change, name) for name in ("kind", "key", "problem", "deploy", "remedy")}


def github(report: Report, spec: Spec) -> str:
    """Workflow commands, which GitHub shows at the line of the new spec where the key is."""
    found = []
    for change in report.changes:
        level = "error" if change.kind in report.failing else "warning"
        message = f"{change.key}: {change.problem} ({change.deploy}): {change.remedy}"
        found.append(f"::{level} {_place(change, spec)},title=breaking ({change.kind})::{_escaped(message)}")
    for one in report.unused:
        line = locate.line_of(spec.lines, ("spec", "breaking"))
        message = f"spec.breaking.ignore: {one.key} is not reported: remove it"
        found.append(f"::notice file={_escaped(spec.file, ',:')},line={line or 1}::{_escaped(message)}")
    return "".join(f"{line}\n" for line in found)


def _place(change: Change, spec: Spec) -> str:
    return f"file={_escaped(spec.file, ',:')},line={locate.line_of(spec.lines, change.path) or 1}"


def _escaped(words: str, more: str = "") -> str:
    """A value of a workflow command. `more` are other characters that end it."""
    return "".join(f"%{ord(char):02X}" if char in "%\r\n" + more else char for char in words)


def junit(report: Report, spec: Spec) -> str:
    """JUnit XML, which most CI servers show: one case for each change, and one if there is none."""
    failed = [change for change in report.changes if change.kind in report.failing]
    cases = max(1, len(report.changes) + len(report.ignored))
    suite = ElementTree.Element(
        "testsuite", name="smith-codegen breaking", tests=str(cases), failures=str(len(failed)), skipped=str(len(report.ignored))
    )
    for change in report.changes:
        case = ElementTree.SubElement(suite, "testcase", classname=f"breaking.{change.kind}", name=change.key, file=spec.file)
        message = f"{change.problem} ({change.deploy})"
        if change in failed:
            ElementTree.SubElement(case, "failure", type=change.kind, message=message).text = change.remedy
        else:
            ElementTree.SubElement(case, "system-out").text = f"{message}: {change.remedy}"
    for change, reason in report.ignored:
        case = ElementTree.SubElement(suite, "testcase", classname=f"breaking.{change.kind}", name=change.key, file=spec.file)
        ElementTree.SubElement(case, "skipped", message=f"{change.problem} ({reason})")
    if not len(suite):
        ElementTree.SubElement(suite, "testcase", classname="breaking", name="nothing breaks", file=spec.file)
    for one in report.unused:
        ElementTree.SubElement(suite, "system-err").text = f"spec.breaking.ignore: {one.key} is not reported: remove it"
    ElementTree.indent(suite)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(suite, encoding="unicode") + "\n"


WRITERS: Final = {"text": text, "json": as_json, "github": github, "junit": junit}
"""The writer of each format."""
