"""Payloads in pydantic models, and so in FastAPI's bodies and responses.

pydantic is no dependency: it is imported when pydantic itself asks a payload class for its schema.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from pydantic_core.core_schema import CoreSchema


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
            raise ValueError(str(error)) from None  # which pydantic reports as its own

    return no_info_plain_validator_function(
        validate, serialization=plain_serializer_function_ser_schema(msgspec.to_builtins, return_schema=None)
    )


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
