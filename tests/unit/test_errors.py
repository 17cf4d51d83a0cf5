"""The error tree: it is as drawn in the docstring, and every name is exported."""

from __future__ import annotations

import copy
import inspect
import pickle
import re

from smith_sdk import errors
from smith_sdk.errors import RetryLater, SmithError

VERDICTS = {"Reject", "RetryLater"}


def drawn() -> dict[str, str]:
    """Each error of the drawing in the module's docstring, and the one that it hangs on."""
    found: dict[str, str] = {}
    above = ["SmithError"]
    for branch, name in re.findall(r"^    ([│ ]*[├└]── )(\w+)", errors.__doc__ or "", re.MULTILINE):
        level = len(branch) // 4
        found[name] = above[level - 1]
        above[level:] = [name]
    return found


def test_the_tree_is_as_drawn() -> None:
    tree = drawn()
    classes = {name: getattr(errors, name) for name in errors.__all__ if name not in VERDICTS | {"SmithError"}}
    assert {name: cls.__bases__[0].__name__ for name, cls in classes.items()} == tree
    also = {(name, base.__name__) for name, cls in classes.items() for base in cls.__bases__[1:]}
    assert also == set(re.findall(r"── (\w+) .*\(also an? (\w+)\)$", errors.__doc__ or "", re.MULTILINE))


def test_every_error_is_exported_and_documented() -> None:
    public = {
        name: cls
        for name, cls in vars(errors).items()
        if isinstance(cls, type) and issubclass(cls, Exception) and cls.__module__ == errors.__name__
    }
    assert sorted(public) == sorted(errors.__all__) == errors.__all__
    assert all(cls.__doc__ for cls in public.values())
    assert {name for name, cls in public.items() if not issubclass(cls, SmithError)} == VERDICTS


def test_every_error_comes_whole_out_of_another_process() -> None:
    """A process pool waits for ever for a result that it cannot unpickle."""
    made: list[Exception] = [RetryLater(2.5)]
    for name in errors.__all__:
        cls = getattr(errors, name)
        own = any("__init__" in vars(base) for base in cls.__mro__ if base.__module__ == errors.__name__)
        parameters = inspect.signature(cls).parameters.values() if own else ()
        given = {one.name: f"the {one.name}" for one in parameters if one.kind is one.KEYWORD_ONLY}
        if name not in ("RetryLater", "PublishManyError"):
            made.append(cls("words", **given))
    made.append(errors.PublishManyError((made[1], errors.QueueFull("full", subject="s", msg_id="i"))))
    assert {type(one).__name__ for one in made} == set(errors.__all__)
    for error in made:
        error.add_note("a note")
        for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
            assert (type(again), str(again), again.args) == (type(error), str(error), error.args)
            assert {key: repr(value) for key, value in vars(again).items()} == {
                key: repr(value) for key, value in vars(error).items()
            }


LISTING = {
    "OptionsError",
    "TopologyDrift",
    "PlanOutdated",
    "MessagesStranded",
    "ServerError",
    "ServerNotInstalled",
    "ServerStartError",
}
"""These name what the caller has, or quote the log of a server."""


def test_what_a_message_quotes_is_escaped_and_bounded() -> None:
    hostile = "\x1b]0;owned\x07\x9b2J\u202e\u2028" + "A" * 1_200_000
    for name in errors.__all__:
        cls = getattr(errors, name)
        if not issubclass(cls, SmithError) or name == "PublishManyError":
            continue
        own = any("__init__" in vars(base) for base in cls.__mro__ if base.__module__ == errors.__name__)
        parameters = inspect.signature(cls).parameters.values() if own else ()
        given = {one.name: hostile for one in parameters if one.kind is one.KEYWORD_ONLY}
        error = cls(f"{hostile} is not valid:\nrun `smith streams apply`", **given)
        text = str(error)
        assert text.startswith(r"\x1b]0;owned\x07\x9b2J\u202e\u2028AAA"), name
        assert text.endswith("A is not valid:\nrun `smith streams apply`"), name
        assert "more characters) ...A" in text, name
        assert len(text) < (16_500 if name in LISTING else 2_200), name
        assert all(getattr(error, one) == hostile for one in given), name
        assert str(pickle.loads(pickle.dumps(error))) == text
