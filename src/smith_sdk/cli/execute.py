"""`smith execute`: publish one intent, wait for its result, and print its output."""

from __future__ import annotations

import base64
import binascii
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from cyclopts import Parameter

from .._core.foreign_text import bounded
from ..errors import OptionsError
from .options import HERE, Where
from .output import Json, note, plain, show_json, show_lines
from .values import Seconds

if TYPE_CHECKING:
    from ..protocol import IntentResult

_OK: Final = ("ok", "success")
_PKCS8: Final = bytes.fromhex("302e020100300506032b657004220420")
"""What stands before the seed in an Ed25519 key as `openssl genpkey` writes it."""


def execute(
    capability: Annotated[str, Parameter(help="Such as fs.read.v1.")],
    /,
    *words: Annotated[
        str, Parameter(name="PARAM=VALUE", help="Its parameters: path=/etc/hostname, or as JSON args:='[\"-l\"]'.")
    ],
    domain: Annotated[str, Parameter(help="The intent's domain.")] = "default",
    timeout: Annotated[Seconds, Parameter(help="How long to wait for the result: seconds, or such as 2m.")] = 30.0,
    ttl: Annotated[Seconds | None, Parameter(help="After how long the intent expires. Default: 5 minutes.")] = None,
    signing_key: Annotated[
        Path | None, Parameter(help="Sign with the Ed25519 key in this file: PEM, or the 32 bytes of its seed in base64.")
    ] = None,
    where: Where = HERE,
    json: Json = False,
) -> int:
    """Execute one capability: publish an intent, wait for its result, and print the output.

    Exit status 1, with the code and the message on standard error, if the intent is denied, fails,
    or has no result in time.
    """
    intent = _intent(capability, words, domain, ttl)
    if signing_key is not None:
        from ..signing import sign

        intent = sign(intent, _seed(signing_key))
    with where.bus() as bus:
        try:
            result = bus.execute(intent, timeout)
        except KeyboardInterrupt:
            id = plain(intent.id)
            note(f"smith: interrupted: intent {id} may still be executed; `smith trace {id}` shows its steps")
            raise
    return _show(result, json)


def _intent(capability: str, words: tuple[str, ...], domain: str, ttl: float | None) -> Any:
    """The intent. Raises `OptionsError`."""
    from .. import subjects
    from ..errors import ContractError, InvalidToken
    from ..protocol._intent import INTENT_CLASSES
    from .fields import build, read_words

    cls: Any = INTENT_CLASSES.get(capability)
    if cls is None:
        close = get_close_matches(capability, list(INTENT_CLASSES), n=1)
        raise OptionsError(
            f'there is no capability "{capability}"{f"; did you mean {close[0]}?" if close else ""}; '
            f"there are {', '.join(INTENT_CLASSES)}"
        )
    params = build(_params_of(cls), read_words(words), capability)
    more = {} if ttl is None else {"ttl_ms": round(ttl * 1000)}
    try:
        intent = cls.new(domain=domain, params=params, **more)
        subjects.intents.vetted.of(intent)  # has to fit into the subjects that it will pass
        msgspec.convert(msgspec.to_builtins(intent), cls)  # and into the bounds of its fields
    except (ContractError, ValueError) as error:
        raise OptionsError(f"{'--domain' if isinstance(error, InvalidToken) else '--ttl or --domain'}: {error}") from None
    return intent


def _params_of(cls: Any) -> Any:
    return next(field.type for field in msgspec.structs.fields(cls) if field.name == "params")


def _show(result: IntentResult, json: bool) -> int:
    if json:
        show_json(result)
    elif isinstance(result.output, str):
        if sys.stdout.isatty():
            show_lines(result.output)
        else:
            sys.stdout.write(result.output)
    elif result.output is not None:
        show_json(result.output)
    if result.status in _OK:
        return 0
    why = f": {result.error.code}: {result.error.message}" if result.error is not None else ""
    note(f"smith: {result.status}{bounded(why)}")
    return 1


def _seed(file: Path) -> bytes:
    """The seed of an Ed25519 key. Raises `OptionsError`, which names the file and not its text."""
    try:
        text = file.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not ASCII text"
        raise OptionsError(f"--signing-key: {file} cannot be read: {why}") from None
    lines = [line for line in text.split("\n") if not line.startswith("-----")]
    try:
        key = base64.b64decode("".join(lines).strip(), validate=True).removeprefix(_PKCS8)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != 32:
        raise OptionsError(
            f"--signing-key: {file} is not an Ed25519 key; `openssl genpkey -algorithm ed25519 -out {file}` makes one"
        )
    return key
