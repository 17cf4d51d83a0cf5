"""What the types, limits and values of fields are refused for, with the key that is wrong."""

from __future__ import annotations

import pytest

from smith_codegen.compile import compile_spec
from smith_codegen.errors import SpecErrors
from smith_codegen.field_patterns import problem

SPEC = """
[spec]
name = "f"
version = 1
root = "f"
package = "f_bus"
[tokens]
domain = {{ newtype = "Domain" }}
level = {{ enum = ["low", "high"] }}
[enums.Color]
values = ["red", "blue"]
[enums.Shape]
values = ["round"]
open = true
{more}
[messages.M.fields]
{field}
[subjects]
"some" = {{ pattern = "f.m", message = "M" }}
"""

REFUSED = [
    # types of limits
    ('x = { type = "str", min = 1 }', "x.min", "is for fields of type int, uint64, float, decimal"),
    ('x = { type = "int", max_length = 1 }', "x.max_length", "is for fields of type str, bytes, list, map"),
    ('x = { type = "int", pattern = "^a$" }', "x.pattern", "is for fields of type str"),
    ('x = { type = "Domain", pattern = "^a$" }', "x.pattern", "is for fields of type str"),
    ('x = { type = "int", min = 1.5 }', "x.min", "1.5 is not a valid int"),
    ('x = { type = "float", max = inf }', "x.max", "inf is not a valid float"),
    ('x = { type = "float", min = nan }', "x.min", "nan is not a valid float"),
    ('x = { type = "decimal", min = 0.1 }', "x.min", 'write a number in quotes, such as "0.10"'),
    ('x = { type = "decimal", max = "NaN" }', "x.max", "'NaN' is not a valid decimal"),
    ('x = { type = "uint64", min = -1 }', "x.min", "is not within 0 to 9223372036854775807"),
    ('x = { type = "uint64", max = 18446744073709551616 }', "x.max", "is not within 0 to 18446744073709551615"),
    ('x = { type = "int", max = 18446744073709551616 }', "x.max", "is beyond 64 bits"),
    ('x = { type = "int", min = -18446744073709551616 }', "x.min", "is beyond 64 bits"),
    ('x = { type = "int", min = 2, max = 1 }', "x.min", "is greater than max"),
    ('x = { type = "decimal", min = "1.01", max = "1.0" }', "x.min", "is greater than max"),
    ('x = { type = "str", min_length = 2, max_length = 1 }', "x.min_length", "is greater than max_length"),
    ('x = { type = "list[str]", min_length = -1 }', "x.min_length", "is negative"),
    # values
    ('x = { type = "int", default = 30, max = 10 }', "x.default", "30 is more than max"),
    ('x = { type = "int", new = 30, max = 10 }', "x.new", "30 is more than max"),
    ('x = { type = "uint64", default = -1 }', "x.default", "-1 is less than min"),
    ('x = { type = "float", default = nan }', "x.default", "nan is not a valid float"),
    ('x = { type = "float", default = -inf }', "x.default", "write a finite number"),
    ('x = { type = "float", default = 2, max = 1.5 }', "x.default", "2 is more than max"),
    ('x = { type = "decimal", default = "0.001", min = "0.01" }', "x.default", "is less than min"),
    ('x = { type = "decimal", default = "1E+200" }', "x.default", "is not a valid decimal"),
    ('x = { type = "str", default = "abc", max_length = 2 }', "x.default", "is longer than max_length"),
    ('x = { type = "str", default = "a1", pattern = "^[a-z]+$" }', "x.default", "does not match the pattern"),
    ('x = { type = "list[int]", default = [], min_length = 1 }', "x.default", "is shorter than min_length"),
    ('x = { type = "datetime", default = "2025-01-31T12:00:00" }', "x.default", "RFC 3339 with an offset"),
    ('x = { type = "datetime", default = 2025-01-31T12:00:00 }', "x.default", "RFC 3339 with an offset"),
    ('x = { type = "datetime", new = "uuid7" }', "x.new", "or have it made: 'now'"),
    ('x = { type = "date", default = "2025-02-30" }', "x.default", "is not a valid date"),
    ('x = { type = "duration", default = "1 hour" }', "x.default", "an ISO 8601 duration"),
    ('x = { type = "uuid", default = "1" }', "x.default", "a UUID, such as"),
    ('x = { type = "uuid", new = "now" }', "x.new", "have it made: 'uuid7', 'uuid4'"),
    ('x = { type = "Color", default = "green" }', "x.default", "write one of red, blue"),
    # patterns
    ('x = { type = "str", pattern = "^(a$" }', "x.pattern", "is not a regular expression"),
    ('x = { type = "str", pattern = "[a-z]+" }', "x.pattern", "does not match texts as a whole"),
    ('x = { type = "str", pattern = "^a|b$" }', "x.pattern", "'^(?:a|b)$'"),
    ("x = { type = \"str\", pattern = '^a\\$' }", "x.pattern", "does not match texts as a whole"),
    ('x = { type = "str", pattern = "^(a+)+$" }', "x.pattern", "too many ways to match one text"),
    ('x = { type = "str", pattern = "^(a*)*$", max_length = 100 }', "x.pattern", "too many ways"),
    ('x = { type = "str", pattern = "^(a|a)*$" }', "x.pattern", "too many ways"),
    ('x = { type = "str", pattern = "^.*a.*$" }', "x.pattern", "or set a max_length"),
    ("x = { type = \"str\", pattern = '^(.)\\1$' }", "x.pattern", "has a reference to a group"),
    ('x = { type = "str", pattern = "^(?=a)a$" }', "x.pattern", "has a look-ahead"),
    ('x = { type = "str", pattern = "^(?i:a)$" }', "x.pattern", "has flags"),
    ('x = { type = "str", pattern = "^[[a]$" }', "x.pattern", "is not a regular expression"),
    ('x = { type = "str", pattern = "^(?P<a>b)$" }', "x.pattern", "has (?P, which JSON Schema does not have"),
    # constants
    ('x = { type = "float", const = 1.5 }', "x.const", "is for fields of type str, int or an enum"),
    ('x = { type = "str?", const = "a" }', "x.const", "that are always present"),
    ('x = { type = "int", const = "a" }', "x.const", "'a' is not a valid int"),
    ('x = { type = "Color", const = "green" }', "x.const", "write one of red, blue"),
    ('x = { type = "int", const = 1, default = 1 }', "x.default", "cannot be used with const"),
    ('x = { type = "int", const = 1, min = 1 }', "x.min", "cannot be used with const"),
    # names
    ('x = { type = "int", name = "" }', "x.name", "is not a valid key"),
    ('x = { type = "int", name = "a\\u0000" }', "x.name", "is not a valid key"),
    ('y = "int"\nx = { type = "int", name = "y" }', "fields.x", "its key in JSON would be 'y', which is that of y"),
    ('from_ = "int"\nfrom = "int"', "fields.from", "is from_ in Python, which is another field"),
    # the rest
    ('x = { type = "int", secret = true }', "x.secret", "is for fields of type str, bytes, uuid and lists of these"),
    ('x = { type = "Color", secret = true }', "x.secret", "is for fields of type"),
    ('domain = { type = "str", secret = true }', "domain.secret", "become no token"),
    ('x = { type = "Shape", reads = { a = "round" } }', "x.reads", "is for fields of a closed set"),
    ('x = "Colour"', "fields.x", "did you mean Color?"),
]


def refused(field: str, more: str = "") -> list[str]:
    with pytest.raises(SpecErrors) as caught:
        compile_spec(SPEC.format(field=field, more=more), "f.toml")
    return [str(error) for error in caught.value.errors]


@pytest.mark.parametrize(("field", "key", "words"), REFUSED, ids=[field for field, _, _ in REFUSED])
def test_refused(field: str, key: str, words: str) -> None:
    (error,) = refused(field)
    assert f"messages.M.{key if key.startswith('fields') else f'fields.{key}'}: " in error
    assert words in error


@pytest.mark.parametrize(
    ("enum", "key", "words"),
    [
        ("[enums.lower]\nvalues = ['a']", "enums.lower", "not a valid class name"),
        ("[enums.E]\nvalues = []", "enums.E.values", "has no value"),
        ("[enums.E]\nvalues = ['a', 'a']", "enums.E.values", "'a' occurs twice"),
        ("[enums.E]\nvalues = ['']", "enums.E.values", "'' is not a valid value"),
        ("[enums.M]\nvalues = ['a']", "enums.M", "is a second type called M"),
    ],
)
def test_refused_enum(enum: str, key: str, words: str) -> None:
    assert any(f"{key}: " in error and words in error for error in refused('x = "int"', enum))


def test_id_that_is_secret() -> None:
    (error,) = refused('x = { type = "str", secret = true }\n[messages.M]\nid = "x"')
    assert "messages.M.id: 'x' is not a field of type str or uuid" in error


def test_two_fields_that_are_renamed_to_one_key() -> None:
    (error,) = refused(
        'a_b = "int"\naB = "int"\n[messages.M]\nrename = "camel"'.replace("aB =", 'ab = { type = "int", name = "aB" }#')
    )
    assert "which is that of a_b" in error


@pytest.mark.parametrize(
    "pattern",
    [
        "^[a-z]+(-[a-z]+)*$",
        "^[a-z][a-z0-9-]*[a-z0-9]$",
        r"^\d{4}-\d{2}$",
        r"^\w+@\w+\.\w+$",
        "^([0-9a-f]{8})-([0-9a-f]{4}-){3}[0-9a-f]{12}$",
        "^(red|green|blue)$",
        "^(?:[+-]?(0|[1-9][0-9]*))$",
    ],
)
def test_patterns_that_are_quick(pattern: str) -> None:
    assert problem(pattern, None) is None
