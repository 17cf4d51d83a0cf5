"""The options that commands share: the server and the contract."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Annotated

from cyclopts import Parameter

from ..contract import Contract
from ..errors import OptionsError
from ..sync import SmithBus

ContractName = Annotated[
    str | None,
    Parameter(
        name="--contract",
        env_var="SMITH_CONTRACT",
        help="A contract other than Smith's own: its generated package, or MODULE:NAME.",
    ),
]
Profile = Annotated[str, Parameter(help="The profile of the topology, such as prod (three replicas) or dev (fits one machine).")]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Where:
    """The server and the contract of a command."""

    url: Annotated[
        str | None, Parameter(help="The server's URL. Default: SMITH_NATS_URL, NATS_URL, or nats://127.0.0.1:4222.")
    ] = None
    contract: ContractName = None

    @property
    def declared(self) -> Contract:
        """The contract. Raises `OptionsError`."""
        return load_contract(self.contract)

    def bus(self) -> SmithBus:
        """A bus, to be opened and closed by the caller."""
        return SmithBus(self.url, contract=self.declared)


HERE = Where()


def load_contract(name: str | None) -> Contract:
    """The contract `name`, such as "acme_bus" or "acme_bus.topology:CONTRACT"; None: Smith's own.

    Raises `OptionsError`.
    """
    where, colon, attribute = (name or "smith_sdk").partition(":")
    if not colon:
        where, attribute = f"{where}.topology", "CONTRACT"
    try:
        found = getattr(import_module(where), attribute, None)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{where}.".startswith(f"{error.name}."):
            raise  # a module that this one imports
        raise OptionsError(
            f"--contract {name}: no module {where}: install its package, or put its directory on PYTHONPATH"
        ) from None
    except (ValueError, TypeError):  # an empty or a relative name
        found = None
    if not isinstance(found, Contract):
        raise OptionsError(f"--contract {name} is not a contract: name a generated package, or MODULE:NAME of its CONTRACT")
    return found
