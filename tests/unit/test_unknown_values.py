"""What a newer contract may be able to decode, told from what none can: by the words of msgspec."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import pytest

from smith_sdk._core import codec
from smith_sdk.errors import PayloadDecodeError, UnknownValue


class Cat(msgspec.Struct, tag_field="kind", tag="cat"):
    lives: int = 9


class Dog(msgspec.Struct, tag_field="kind", tag="dog"):
    name: str = ""


class Zoo(msgspec.Struct):
    state: Literal["open", "shut"] = "open"
    pets: list[Cat | Dog] = []
    beds: dict[Literal["a", "b"], int] = {}
    area: float = 0.0


@pytest.mark.parametrize(
    ("cls", "data", "value", "path"),
    [
        (Zoo, b'{"state": "sold"}', "'sold'", "`$.state`"),
        (Zoo, b'{"beds": {"c": 1}}', "'c'", "`key` in `$.beds`"),
        (Zoo, b'{"pets": [{"kind": "cat"}, {"kind": "emu"}]}', "'emu'", "`$.pets[1].kind`"),
        (Cat | Dog, b'{"kind": "emu"}', "'emu'", "`$.kind`"),
    ],
)
def test_a_value_that_a_newer_contract_may_know_is_named_with_its_path(cls: Any, data: bytes, value: str, path: str) -> None:
    with pytest.raises(UnknownValue) as caught:
        codec.decode(cls, data, "zoo.pets")
    assert f"{value} - at {path}" in str(caught.value)
    assert caught.value.raw == data


@pytest.mark.parametrize(
    ("cls", "data"),
    [
        (Zoo, b"{"),
        (Zoo, b"[]"),
        (Zoo, b'{"state": 5}'),
        (Zoo, b'{"area": "Invalid enum value"}'),
        (Cat | Dog, b'{"kind": 5}'),
        (Cat | Dog, b'{"kind": "cat", "lives": "many"}'),
        # the subject has selected the class
        (Cat, b'{"kind": "dog"}'),
        (Cat, b'{"kind": "emu"}'),
    ],
)
def test_what_no_contract_can_decode_is_not_an_unknown_value(cls: Any, data: bytes) -> None:
    with pytest.raises(PayloadDecodeError) as caught:
        codec.decode(cls, data, "zoo.pets")
    assert type(caught.value) is PayloadDecodeError
