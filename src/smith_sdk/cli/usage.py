"""What is wrong with a command line, in words of ours: the option, the value, and a right one."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any, Final, Literal, get_args, get_origin

from cyclopts import (
    CoercionError,
    CycloptsError,
    MissingArgumentError,
    RepeatArgumentError,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
    ValidationError,
)

from .commands import COMMANDS

_EXPECTED: Final[dict[Any, str]] = {
    int: "a whole number, such as 10",
    float: "a number, such as 0.5",
    bool: "true or false",
}


def explain(error: CycloptsError) -> str:
    """One line about a wrong command line, and where its help is."""
    chain = list(error.command_chain or ())
    return f"{_what(error)}; see `{' '.join(['smith', *chain, '--help'])}`"


def _what(error: CycloptsError) -> str:
    match error:
        case CoercionError():
            return _conversion(error)
        case ValidationError():
            return _validation(error)
        case MissingArgumentError():
            return _missing(error)
        case UnknownOptionError():
            return _unknown_option(error)
        case UnknownCommandError():
            return _unknown_command(error)
        case UnusedCliTokensError():
            tokens = " ".join(f'"{token}"' for token in error.unused_tokens or ())
            return f"unexpected {tokens}"
        case RepeatArgumentError():
            return f"{error.token.keyword} is given more than once"
        case _:
            error.verbose = False
            return " ".join(str(error).split()).rstrip(".")


def _name(error: CycloptsError, token: Any = None) -> str:
    """The option as it was given; a positional argument by its name in the help."""
    if token is not None and token.keyword:
        return str(token.keyword)
    if error.argument is None:
        return "an argument"
    name = error.argument.name
    return name if name.startswith("-") else name.upper()


def _source(token: Any) -> str:
    return "" if token is None or token.source in ("", "cli") else f" (from {token.source})"


def _conversion(error: CoercionError) -> str:
    token = error.token
    if token is None and error.argument is not None and error.argument.tokens:
        token = error.argument.tokens[0]
    name = f"{_name(error, token)}{_source(token)}"
    if error.msg is not None:  # of a converter of ours
        return f"{name}: {error.msg}"
    value = "" if token is None else token.value
    return f'{name}: "{value}" is not {_expected(error.target_type)}'


def _expected(kind: Any) -> str:
    """Values of an option's type, with an example."""
    kinds = [one for one in get_args(kind) if one is not type(None)] if get_origin(kind) is not Literal else []
    while kinds:
        kind = kinds[0]
        kinds = [] if get_origin(kind) is Literal else [one for one in get_args(kind) if one is not type(None)]
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(str, get_args(kind)))}"
    return _EXPECTED.get(kind, f"a valid {getattr(kind, '__name__', kind)}")


def _validation(error: ValidationError) -> str:
    why = error.exception_message.rstrip(".")
    if error.argument is None:
        return why or "invalid arguments"
    token = error.argument.tokens[0] if error.argument.tokens else None
    value = token.value if token is not None else error.argument.value
    return f"{_name(error, token)}{_source(token)}: {value} is out of range: it {why[:1].lower()}{why[1:]}"


def _missing(error: MissingArgumentError) -> str:
    if error.keyword is not None:
        return f"{error.keyword} needs a value"
    return f"{_name(error)} is missing"


def _unknown_option(error: UnknownOptionError) -> str:
    given = (error.token.keyword or error.token.value).partition("=")[0]
    known = [name for argument in error.argument_collection if argument.parse for name in argument.names]
    hint = _similar(given, known)
    if not hint and error.command_chain and error.command_chain[-1] == "execute":
        hint = f"; values have no dashes: {given.lstrip('-').replace('-', '_')}=..."
    return f"there is no option {given}{hint}"


def _unknown_command(error: UnknownCommandError) -> str:
    given = (error.unused_tokens or [""])[0]
    if given.startswith("-"):
        return f"there is no option {given}"
    chain = list(error.command_chain or ())
    known = list(COMMANDS) if not chain else [name for name in (error.app or ()) if not name.startswith("-")]
    return f'there is no command "{given}"{_similar(given, known)}; there are {", ".join(known)}'


def _similar(given: str, known: list[str]) -> str:
    close = get_close_matches(given, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""
