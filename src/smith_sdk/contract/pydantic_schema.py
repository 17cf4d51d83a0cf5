"""Payloads in pydantic models, and so in FastAPI's bodies and responses.

pydantic is no dependency: it is imported when pydantic itself asks a payload class for its schema.
FastAPI reads a parameter from the body if its class is a dataclass, and so payloads look like one.
"""

from __future__ import annotations

import dataclasses
from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import msgspec

from .._core.foreign_text import shortened

if TYPE_CHECKING:
    from pydantic_core.core_schema import CoreSchema, SerializationInfo

DATACLASS_PARAMS: Final = SimpleNamespace(init=True, repr=False, eq=True, order=False, unsafe_hash=False, frozen=True)
"""What `pprint` looks at in a dataclass. `repr=False`: the representation is msgspec's."""


class DataclassFields:
    """`__dataclass_fields__` of payload classes, made when it is first asked for.

    `dataclasses.asdict` then has the keys of the payload's JSON, the tag (`capability`) included,
    since FastAPI encodes with it what has no response model.
    """

    def __get__(self, instance: object, owner: type[msgspec.Struct]) -> dict[str, dataclasses.Field[Any]]:
        return _dataclass_fields(owner)


@cache
def _dataclass_fields(cls: type[msgspec.Struct]) -> dict[str, dataclasses.Field[Any]]:
    found: dict[str, dataclasses.Field[Any]] = {}
    tag = cls.__struct_config__.tag_field
    if tag is not None and hasattr(cls, tag):
        found[tag] = _field(tag, str, init=False)  # `dataclasses.replace` does not pass it
    for one in msgspec.structs.fields(cls):
        found[one.name] = _field(one.name, one.type, init=True)
    return found


def _field(name: str, type_: Any, *, init: bool) -> dataclasses.Field[Any]:
    # As `dataclasses.make_dataclass` makes it: its own marks on a field are private.
    made = dataclasses.make_dataclass("_", [(name, type_, dataclasses.field(init=init))])
    return dataclasses.fields(made)[0]


def core_schema(cls: type[Any]) -> CoreSchema:
    """pydantic's schema of a payload class: an instance, or what its JSON decodes to.

    The payload's own types and limits decide, so that what pydantic accepts can be published.
    """
    from pydantic_core.core_schema import no_info_plain_validator_function, plain_serializer_function_ser_schema

    def validate(value: object) -> object:
        if isinstance(value, cls):
            return value
        try:
            return msgspec.convert(value, cls)
        except msgspec.ValidationError as error:
            raise ValueError(shortened(str(error))) from None  # which pydantic reports as its own

    def serialize(value: object, info: SerializationInfo) -> object:
        plain = msgspec.to_builtins(value)
        return _without_none(plain) if info.exclude_none else plain

    return no_info_plain_validator_function(
        validate, serialization=plain_serializer_function_ser_schema(serialize, info_arg=True, return_schema=None)
    )


def _without_none(value: Any) -> Any:
    """`value` without the keys whose value is None, as `exclude_none` leaves them out."""
    if isinstance(value, dict):
        return {key: _without_none(one) for key, one in value.items() if one is not None}
    if isinstance(value, (list, tuple)):
        return [_without_none(one) for one in value]
    return value


def json_schema(cls: type[Any]) -> dict[str, Any]:
    """The JSON schema of a payload class, self-contained: nested payloads stand where they are
    used."""
    (schema,), components = msgspec.json.schema_components([cls], ref_template="{name}")

    def inline(part: Any, inside: tuple[str, ...]) -> Any:
        if isinstance(part, list):
            return [inline(one, inside) for one in part]
        if not isinstance(part, dict):
            return part
        name = part.get("$ref")
        if name is None:
            return {key: inline(value, inside) for key, value in part.items()}
        if name in inside:  # a payload within itself
            return {}
        return inline(components[name], (*inside, name))

    found: dict[str, Any] = inline(schema, ())
    return found
