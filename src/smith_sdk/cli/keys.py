"""`smith keys`: make a key that signs intents, and show the public one of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

from cyclopts import App, Parameter

from .. import signing
from ..errors import OptionsError
from .output import Json, say, show_json

keys = App(name="keys", help="Make and show keys that sign intents.")

_FILE: Final = Path("smith-signing-key.pem")


@keys.command
def generate(
    *,
    out: Annotated[Path, Parameter(help="The file to make, readable by its owner only.")] = _FILE,
    trust: Annotated[Path | None, Parameter(help="Add the public key to this file of trusted keys.")] = None,
    show_private: Annotated[
        bool, Parameter(negative="", help="Print the private key in place of making a file, such as for a secret store.")
    ] = False,
    json: Json = False,
) -> None:
    """Make a private key that signs intents, and print its public key.

    The file is PEM (PKCS #8), which `signing.load_key` and openssl read. A file that exists is
    never overwritten. The public key, in base64, is the intents' signer: give it to those who
    verify, such as in the file of `smith admission --keys`, to which --trust adds it.
    """
    key = signing.generate_key()
    public = signing.public_key(key)
    if show_private:
        private = signing.key_to_pem(key)
        if json:
            show_json({"public_key": public, "private_key": private})
        else:
            print(private, end="")
            say(f"public key: {public}", json=True)
        _add(public, trust, "")
        return
    out = out.expanduser()
    try:
        signing.save_key(key, out)
    except FileExistsError:
        raise OptionsError(f"{out} exists and is not overwritten: pass --out with another name") from None
    except OSError as error:
        raise OptionsError(f"{out} cannot be written: {error.strerror or error}") from None
    _add(public, trust, out.name)
    say(f"the private key is in {out}: keep it secret", json=True)
    _show(public, json)


@keys.command
def show(file: Path, /, *, json: Json = False) -> None:
    """Print the public key of the private key in FILE."""
    _show(signing.public_key(signing.load_key(file.expanduser())), json)


def _add(public: str, trust: Path | None, name: str) -> None:
    """Add a line to the file of trusted keys."""
    if trust is None:
        return
    try:
        with trust.expanduser().open("a+b") as file:
            file.seek(max(0, file.tell() - 1))
            start = "\n" if file.read(1) not in (b"", b"\n") else ""  # an editor may leave the last line open
            line = f"{start}{public} {name}".rstrip() + "\n"
            file.write(line.encode("ascii", "backslashreplace"))  # at once: a reader sees all of it or nothing
    except OSError as error:
        raise OptionsError(
            f"{trust} cannot be written: {error.strerror or error}; the key is made, so add this line by hand: {public}"
        ) from None


def _show(public: str, json: bool) -> None:
    if json:
        show_json({"public_key": public})
    else:
        print(public)
