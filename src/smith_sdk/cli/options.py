"""The options that commands share: the server, the credentials and the contract.

Where to connect is the first of --url, SMITH_NATS_URL, NATS_URL, the context that --context or
NATS_CONTEXT names, the selected context of the nats command, and nats://127.0.0.1:4222.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Group, Parameter

from ..errors import AuthenticationError, ConnectError, OptionsError, SmithError
from .output import warn, warnings_shown

if TYPE_CHECKING:  # both take long to import, and help does not need them
    from ..aio import AsyncSmithBus
    from ..contract import Contract
    from ..sync import SmithBus

ContractName = Annotated[
    str | None,
    Parameter(
        name="--contract",
        env_var="SMITH_CONTRACT",
        help="Another one than Smith's: a generated package, or MODULE:NAME.",
    ),
]
Profile = Annotated[
    str | None,
    Parameter(
        help="The profile of the topology, such as prod (three replicas) or dev (fits one machine). Default: SMITH_PROFILE, or prod."
    ),
]

_URL_VARIABLES: Final = ("SMITH_NATS_URL", "NATS_URL")

_CREDENTIALS: Final = ("NATS_CREDS", "NATS_NKEY", "NATS_TOKEN", "NATS_USER", "NATS_PASSWORD")
_FILES: Final = ("NATS_CA", "NATS_CERT", "NATS_KEY")


@Parameter(name="*", group=Group("Server", sort_key=1))
@dataclass(frozen=True, kw_only=True)
class Server:
    """The server and the credentials of a command."""

    url: Annotated[
        str | None,
        Parameter(
            help="nats://, tls://, ws:// or wss://. Default: SMITH_NATS_URL, NATS_URL, or the context's. A password in it shows "
            "in the process list: pass it in SMITH_NATS_URL, or use --creds, --nkey or --context."
        ),
    ] = None
    context: Annotated[
        str | None,
        Parameter(
            help="Of the nats command: its URL, credentials, TLS, inbox prefix, JetStream domain or API prefix. Default: the "
            "selected one."
        ),
    ] = None
    creds: Annotated[Path | None, Parameter(help="A .creds file.")] = None
    nkey: Annotated[Path | None, Parameter(help="A file with an NKey seed.")] = None
    tlsca: Annotated[Path | None, Parameter(help="Certificates to trust (PEM).")] = None
    tlscert: Annotated[Path | None, Parameter(help="Client certificate (PEM).")] = None
    tlskey: Annotated[Path | None, Parameter(help="Its private key (PEM).")] = None

    def to_environment(self) -> None:
        """Put what is given where the buses of a program look for it. Raises `OptionsError`."""
        self._auth()
        self._tls()
        if self.url is not None:
            _warn_of_password(self.url)
            os.environ[_URL_VARIABLES[0]] = self.url
        if self.context is not None:
            os.environ["NATS_CONTEXT"] = self.context
        for names, given in (
            (_CREDENTIALS, (self.creds, self.nkey)),
            (_FILES, (self.tlsca, self.tlscert, self.tlskey)),
        ):
            if any(given):  # in place of all that the variables have about it
                for name in names:
                    os.environ.pop(name, None)
                os.environ.update({name: str(_home(path)) for name, path in zip(names, given, strict=False) if path is not None})

    def _auth(self) -> Any:
        from ..options import Auth

        if self.creds is not None and self.nkey is not None:
            raise OptionsError("--creds and --nkey exclude each other: pass one of them")
        return None if self.creds is None and self.nkey is None else Auth(creds=_home(self.creds), nkey_seed=_home(self.nkey))

    def _tls(self) -> Any:
        from ..options import TLSFiles

        if (self.tlscert is None) != (self.tlskey is None):
            raise OptionsError("--tlscert and --tlskey go together: pass both")
        if self.tlsca is None and self.tlscert is None:
            return None
        return TLSFiles(ca=_home(self.tlsca), cert=_home(self.tlscert), key=_home(self.tlskey))


@Parameter(name="*", group=Group("Server and contract", sort_key=1))
@dataclass(frozen=True, kw_only=True)
class Where(Server):
    """The server, the credentials and the contract of a command."""

    contract: ContractName = None

    @property
    def declared(self) -> Contract:
        """The contract. Raises `OptionsError`."""
        return load_contract(self.contract)

    @contextmanager
    def bus(self, **options: Any) -> Iterator[SmithBus]:
        """A connected bus of the blocking face; `options` are more of its arguments.

        An error about connecting names where the URL is from.
        """
        from ..sync import SmithBus

        declared = self.declared
        arguments, source = self.connecting()
        with warnings_shown():
            with _naming(source):
                bus = SmithBus(contract=declared, **arguments, **options)
                bus.connect()
            try:
                yield bus
            finally:
                bus.close()

    @asynccontextmanager
    async def async_bus(self, **options: Any) -> AsyncIterator[AsyncSmithBus]:
        """The same, of the async face."""
        from ..aio import AsyncSmithBus

        declared = self.declared
        arguments, source = self.connecting()
        with warnings_shown():
            with _naming(source):
                bus = AsyncSmithBus(contract=declared, **arguments, **options)
                await bus.connect()
            try:
                yield bus
            finally:
                await bus.close()

    def connecting(self) -> tuple[dict[str, Any], str]:
        """The arguments of a bus about the server, and where its URL is from, in words.

        Raises `OptionsError`.
        """
        from .._core.connection.contexts import Context, read_context, selected_context

        variable = next((name for name in _URL_VARIABLES if os.environ.get(name)), None)
        given = self.context if self.context is not None else os.environ.get("NATS_CONTEXT") or None
        # The selected context is about its own server: no other one is sent its credentials.
        name = given if given is not None or self.url is not None or variable is not None else selected_context()
        context = Context() if name is None else read_context(name)
        _warn_of_keys(context)
        if self.url is not None:
            _warn_of_password(self.url)
            source = "from --url"
        elif variable is not None:
            source = f"from {variable}"
            if self.context is not None and context.settings.get("url"):
                warn(f"{variable} is set, so the url of context {name} is not used; unset it, or pass --url")
        elif context.settings.get("url"):
            source = f"from {'the selected ' * (given is None)}context {name}"
        else:
            source = "the default; pass --url or --context, or set SMITH_NATS_URL; `smith dev` starts a server"
        return {"url": self.url, "auth": self._auth(), "tls": self._tls(), "context": context}, source


HERE = Where()
ENVIRONMENT = Server()


def _home(path: Path | None) -> Path | None:
    """The path, for a shell that leaves the tilde of `--creds=~/user.creds` as it is."""
    return None if path is None else path.expanduser()


def _warn_of_password(url: str) -> None:
    if any("@" in one.partition("://")[2] for one in url.split(",")):
        warn(
            "a password in --url shows in the process list, to every user of this machine: pass the URL in SMITH_NATS_URL, or "
            "use --creds, --nkey or --context"
        )


@contextmanager
def _naming(source: str) -> Iterator[None]:
    """Have errors about the server name where its URL is from."""
    try:
        yield
    except (ConnectError, AuthenticationError) as error:
        raise type(error)(f"{error} ({source})", url=error.url) from None
    except OptionsError as error:
        if str(error).startswith("url"):
            raise OptionsError(f"{error} ({source})") from None
        raise


def _warn_of_keys(context: Any) -> None:
    """Warn of keys that are not used."""
    if unused := (*context.unsupported, *context.unknown):
        warn(f"context {context.name}: {', '.join(unused)} in {context.file} is not supported, and not used")


def load_contract(name: str | None) -> Contract:
    """The contract `name`, such as "acme_bus" or "acme_bus.topology:CONTRACT"; None: Smith's own.

    Raises `OptionsError`.
    """
    from ..contract import Contract

    where, colon, attribute = (name or "smith_sdk").partition(":")
    if not colon:
        where, attribute = f"{where}.topology", "CONTRACT"
    found: object = None
    if all(part.isidentifier() for part in where.split(".")):
        try:
            found = getattr(import_module(where), attribute, None)
        except ModuleNotFoundError as error:
            if error.name is not None and f"{where}.".startswith(f"{error.name}."):
                raise OptionsError(
                    f"--contract {name}: no module {where}: install its package, or put its directory on PYTHONPATH"
                ) from None
            raise OptionsError(f"--contract {name}: importing {where} failed: {error}") from error
        except SmithError as error:
            raise OptionsError(f"--contract {name}: {error}") from error
        except Exception as error:
            raise OptionsError(f"--contract {name}: importing {where} failed: {type(error).__name__}: {error}") from error
    if not isinstance(found, Contract):
        raise OptionsError(f"--contract {name} is not a contract: name a generated package, or MODULE:NAME of its CONTRACT")
    return found
