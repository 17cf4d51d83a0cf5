"""`smith completion`: the script that has a shell complete commands and options with Tab."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Literal, get_args

from cyclopts import Parameter

from ..errors import OptionsError
from .output import note, say

Shell = Literal["bash", "zsh", "fish"]


def completion(
    shell: Annotated[Shell | None, Parameter(help="Default: the shell that SHELL names.")] = None,
    /,
    *,
    install: Annotated[
        bool, Parameter(negative="", help="Write it where the shell loads it from, and print the file's name.")
    ] = False,
) -> None:
    """Print the script with which bash, zsh or fish completes `smith` with Tab.

    Install it again after an upgrade.
    """
    from .app import app

    chosen = shell or _own_shell()
    if not install:
        sys.stdout.write(app.generate_completion(shell=chosen))
        return
    try:
        file = app.install_completion(shell=chosen)
    except OSError as error:
        raise OptionsError(f"the script cannot be written to {error.filename}: {error.strerror}") from None
    say(str(file))
    note(f"start a new {chosen} to use it")


def _own_shell() -> Shell:
    name = Path(os.environ.get("SHELL", "")).name
    for shell in get_args(Shell):
        if name == shell:
            found: Shell = shell
            return found
    raise OptionsError(f"SHELL is {name!r}, which is not one of {', '.join(get_args(Shell))}: pass one of them")
