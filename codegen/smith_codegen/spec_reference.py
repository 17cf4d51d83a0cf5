"""The reference of a spec as Markdown: a table of keys for each section, made from its schema."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from . import spec_schema


def page() -> str:
    """The whole page."""
    schema = spec_schema.build()
    sections = {name: _target(one.get("additionalProperties", one)) for name, one in schema["properties"].items()}
    lines = [
        "# The spec",
        "",
        "Every key of `subjects.toml`. `smith-codegen schema` writes the same as a JSON Schema, for editors:",
        "see [Documents from a spec](../howto/documents.md). A key without a default and not marked as required",
        "is not set if it is left out.",
        "",
        "| section | what it declares |",
        "|---|---|",
        *(f"| [`[{name}]`](#{target.lower()}) | {_cell(schema['definitions'][target])} |" for name, target in sections.items()),
        "",
    ]
    titles = {target: f"[{name}]" if name == "spec" else f"[{name}.X]" for name, target in sections.items()}
    inner = [name for name in schema["definitions"] if name not in titles]
    for name in (*titles, *inner):
        lines += _entry(titles.get(name, name), name, schema["definitions"][name])
    return "\n".join(lines)


def _entry(title: str, name: str, schema: dict[str, Any]) -> Iterator[str]:
    table = schema["anyOf"][1] if "anyOf" in schema else schema
    yield from (f"## `{title}` {{ #{name.lower()} }}", "", table["description"], "")
    yield from ("| key | type | meaning |", "|---|---|---|")
    for key, one in sorted(table["properties"].items(), key=lambda pair: (pair[0] not in table["required"], pair[0] == "doc")):
        facts = ["required"] if key in table["required"] else []
        if "default" in one:
            facts.append(f"default `{_toml(one['default'])}`")
        notes = f" ({', '.join(facts)})" if facts else ""
        yield f"| `{key}` | {_kind(one)} | {_cell(one)}{notes} |"
    yield ""


def _kind(schema: dict[str, Any]) -> str:
    """A type in words; declarations are links."""
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"])
    if "allOf" in schema:
        target = _target(schema)
        return f"[{target}](#{target.lower()})"
    if "enum" in schema:
        return ", ".join(f"`{_toml(value)}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"array of {_kind(schema['items'])}"
    if schema.get("type") == "object":
        return f"table of {_kind(schema['additionalProperties'])}"
    return str(schema.get("type", "any"))


def _target(schema: dict[str, Any]) -> str:
    """The name of the definition that a schema refers to."""
    reference: str = schema["allOf"][0]["$ref"]
    return reference.rpartition("/")[2]


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


def _cell(schema: dict[str, Any]) -> str:
    table = schema["anyOf"][1] if "anyOf" in schema and "description" not in schema else schema
    return str(table["description"]).replace("|", "\\|")
