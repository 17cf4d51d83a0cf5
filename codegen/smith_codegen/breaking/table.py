"""The table of rules as Markdown, for the documentation.

`python -m smith_codegen.breaking.table` prints it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Final

from .rule import Rule
from .rules import RULES

SECTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "[spec]": ("SpecDecl",),
    "[tokens]": ("TokenDecl",),
    "[messages.X]": ("MessageDecl",),
    "Fields of a message": ("FieldDecl",),
    "[enums.X]": ("EnumDecl",),
    "[unions.X]": ("UnionDecl",),
    "[subjects]": ("SubjectDecl", "ErrorDecl"),
    "[streams.X]": ("StreamDecl", "ConsumerLimitsDecl"),
    "[consumers.X]": ("ConsumerDecl",),
    "[domains.X]": ("DomainsDecl",),
    "[profiles.X]": ("ProfileDecl", "OverrideDecl"),
    "[sharding.X]": ("ShardingDecl", "ReadDecl"),
    "[buckets.X]": ("BucketDecl",),
    "[objects.X]": ("ObjectsDecl",),
}
"""The headings of the tables, and the declarations under each."""


def markdown() -> str:
    """A table for each section of a spec. Parts of a value are not listed."""
    return "\n".join(line for title, names in SECTIONS.items() for line in (f"#### {title}", "", *_table(names), ""))


def _table(names: tuple[str, ...]) -> Iterator[str]:
    found = {key: rule for name in names for key, rule in RULES.items() if key.split(".")[0] == name}
    yield "| key | change | breaks | order | because |"
    yield "|---|---|---|---|---|"
    for key, rule in found.items():
        yield from _rows(_label(key, names[0]), rule)
    silent = [f"`{_label(key, names[0])}`" for key, rule in found.items() if not _breaks(rule) and rule.how != "part"]
    if silent:
        yield f"| {', '.join(silent)} | any | nothing | | |"


def _rows(label: str, rule: Rule) -> Iterator[str]:
    for effect in rule.effects:
        if effect.kind is not None:
            because = f"{effect.why[:1].upper()}{effect.why[1:]}. Remedy: {effect.advice}."
            yield f"| {f'`{label}`' if label else 'the whole'} | {effect.when} | {effect.kind} | {effect.deploy} | {because} |"


def _label(key: str, first: str) -> str:
    """A key as it stands in the section; empty for the declaration itself."""
    name, _, field = key.partition(".")
    within = {
        "ConsumerLimitsDecl": "consumer_limits.",
        "OverrideDecl": "streams.X.",
        "ErrorDecl": "errors.X.",
        "ReadDecl": "reads.X",
    }.get(name, "")
    return within + field if name != first else field


def _breaks(rule: Rule) -> bool:
    return any(effect.kind for effect in rule.effects)


if __name__ == "__main__":
    sys.stdout.write(markdown())
