"""What hypothesis makes for several test modules: values of JSON, and payloads of any class."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
from hypothesis import strategies as st

from smith_sdk.errors import InvalidToken

json_value = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


_tokens = st.text(st.characters(categories=("L", "N")), min_size=1, max_size=8)


@cache
def token_fields(cls: Any) -> frozenset[str]:
    """The fields of a payload that it refuses to be made with unless they are tokens."""
    found = set()
    kinds = {field.name: msgspec.inspect.type_info(field.type) for field in msgspec.structs.fields(cls)}
    right = {name: kind.values[0] if isinstance(kind, msgspec.inspect.LiteralType) else "x" for name, kind in kinds.items()}
    for name in right:
        try:
            cls(**{**right, name: " "})
        except InvalidToken as error:
            if not isinstance(kinds[name], msgspec.inspect.LiteralType):
                found.add(error.token)
    return frozenset(found)


@cache
def payloads(cls: Any) -> st.SearchStrategy[Any]:
    """Payloads of a class. Made once: hypothesis looks at a strategy when it is first used."""
    return values(msgspec.inspect.type_info(cls))


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a type as msgspec sees it."""
    info = msgspec.inspect
    match kind:
        case info.StructType():
            tokens = token_fields(kind.cls)
            fields = {field.name: _tokens if field.name in tokens else values(field.type) for field in kind.fields}
            return st.fixed_dictionaries(fields).map(lambda given: kind.cls(**given))
        case info.UnionType():
            return st.one_of(*map(values, kind.types))
        case info.ListType():
            return st.lists(values(kind.item_type), max_size=3)
        case info.DictType():
            return st.dictionaries(st.text(max_size=5), values(kind.value_type), max_size=3)
        case info.LiteralType():
            return st.sampled_from(kind.values)
        case info.Metadata(type=info.IntType(ge=least), extra_json_schema={"maximum": most}):
            return st.integers(least, most)
        case info.IntType(ge=least, le=most):
            return st.integers(-(2**80) if least is None else least, 2**80 if most is None else most)
        case info.FloatType():
            return st.floats(allow_nan=False, allow_infinity=False)
        case info.StrType():
            return st.text(max_size=8)
        case info.BytesType():
            return st.binary(max_size=8)
        case info.BoolType():
            return st.booleans()
        case info.NoneType():
            return st.none()
        case info.AnyType():
            return json_value
    raise AssertionError(kind)
