"""The two faces have the same public names, parameters and annotations; and the files on disk
are those that are generated."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

from smith_sdk import aio, sync
from smith_sdk._core.blocking.faces import Blocking

RENAMED = {"AsyncSmithBus": "SmithBus"}
TWINS = sorted(name for name in aio.__all__ if getattr(aio, name) is not getattr(sync, RENAMED.get(name, name)))
ASYNC_ONLY = {"__aenter__": "__enter__", "__aexit__": "__exit__", "__aiter__": "__iter__", "__anext__": "__next__"}
CHECKOUT = Path(__file__).resolve().parents[2]


def members(cls: type) -> dict[str, Any]:
    """Public methods and properties that the class itself defines, and the protocols that make
    it a context or an iterator."""
    found: dict[str, Any] = {}
    for owner in reversed(cls.__mro__):
        if owner.__module__.startswith("smith_sdk.") and not owner.__module__.startswith("smith_sdk.contract."):
            found.update(vars(owner))
    special = {*ASYNC_ONLY, *ASYNC_ONLY.values()}
    return {
        name: value
        for name, value in found.items()
        if (not name.startswith("_") or name in special) and isinstance(value, (FunctionType, property, classmethod))
    }


def blocking_form(annotation: Any, *, waits: bool) -> str:
    """What an annotation of the async face is on the blocking one."""
    text = str(annotation).replace("AsyncSmithBus", "SmithBus")
    if text.startswith("asyncio.Future") and waits:
        return text.replace("asyncio.", "concurrent.futures.")
    return "None" if text == "Coroutine[Any, Any, None]" else text


def shape(function: Any) -> tuple[list[tuple[str, Any, Any, str]], Any]:
    function = getattr(function, "fget", None) or getattr(function, "__func__", function)
    signature = inspect.signature(function)
    parameters = [
        (one.name, one.kind, one.default, blocking_form(one.annotation, waits=False)) for one in signature.parameters.values()
    ]
    return parameters, signature.return_annotation


def test_both_faces_export_the_same_names() -> None:
    assert sorted(RENAMED.get(name, name) for name in aio.__all__) == sorted(sync.__all__)
    assert set(TWINS) >= {"AsyncSmithBus", "Consumer", "Message", "Messages", "Subscription", "Worker", "Admission", "Streams"}


@pytest.mark.parametrize("name", TWINS)
def test_a_class_and_its_twin_have_the_same_members(name: str) -> None:
    theirs, ours = members(getattr(aio, name)), members(getattr(sync, RENAMED.get(name, name)))
    # Public attributes of the async object are properties of its twin.
    attributes = {one for one in ours if one not in theirs and isinstance(ours[one], property)}
    assert {ASYNC_ONLY.get(one, one) for one in theirs} == set(ours) - attributes
    for attribute in attributes:
        assert re.search(rf"self\.{attribute} = ", inspect.getsource(getattr(aio, name).__init__))


@pytest.mark.parametrize("name", TWINS)
def test_a_class_and_its_twin_have_the_same_signatures(name: str) -> None:
    twin = getattr(sync, RENAMED.get(name, name))
    theirs, ours = members(getattr(aio, name)), members(twin)
    for member, function in theirs.items():
        if member in ("__anext__", "__aiter__"):
            continue  # written once, for every iterator, in the portal
        other = ours[ASYNC_ONLY.get(member, member)]
        assert type(other) is type(function), member
        parameters, returns = shape(function)
        their_parameters, their_returns = shape(other)
        assert parameters == their_parameters, member
        assert blocking_form(returns, waits=inspect.iscoroutinefunction(function)) == str(their_returns), member
        assert not inspect.iscoroutinefunction(getattr(other, "__func__", other)), member
    assert issubclass(twin, Blocking)


@pytest.mark.parametrize("name", ["AsyncSmithBus", "Worker", "Admission"])
def test_what_a_user_constructs_takes_the_same(name: str) -> None:
    theirs, ours = shape(getattr(aio, name).__init__), shape(getattr(sync, RENAMED.get(name, name)).__init__)
    assert theirs == ours


@pytest.mark.parametrize("name", TWINS)
def test_everything_public_has_a_docstring_that_fits_its_face(name: str) -> None:
    twin = getattr(sync, RENAMED.get(name, name))
    for member, function in {"": twin, **members(twin)}.items():
        text = inspect.getdoc(function) or ""
        assert "await " not in text, member
        assert "async for" not in text, member


@pytest.mark.skipif(not (CHECKOUT / "src" / "smith_sdk" / "aio").is_dir(), reason="runs in a checkout")
def test_the_blocking_face_on_disk_is_the_one_that_is_generated() -> None:
    faces = pytest.importorskip("smith_codegen.faces")
    pytest.importorskip("ruff")
    package = CHECKOUT / "src" / "smith_sdk"
    rendered = faces.render_faces(package)
    on_disk = {path.relative_to(package).as_posix(): path.read_text("utf-8") for path in (package / "sync").rglob("*.py")}
    assert rendered == on_disk
    assert faces.render_faces(package) == rendered
