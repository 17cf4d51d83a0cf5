"""`smith export`: what Grafana, Prometheus and KEDA read, made from a contract."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import App, Parameter
from cyclopts.validators import Number

from ..errors import OptionsError
from .options import ContractName, load_contract
from .output import note

if TYPE_CHECKING:
    from ..contract import ConsumerSpec, Contract

export = App(name="export", help="Write a Grafana dashboard, Prometheus alert rules, or KEDA scalers for a contract.")

Out = Annotated[Path | None, Parameter(name=["--out", "-o"], help="The file to write. Default: standard output.")]

_ENDPOINT: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}")
_HINT: Final = "such as nats.nats.svc.cluster.local:8222"
_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
_LARGEST: Final = 2**31 - 1


@export.command
def grafana(*, contract: ContractName = None, out: Out = None) -> None:
    """Write a dashboard for Grafana 10.4 or later, as JSON to import.

    It shows the metrics of /metrics: see `smith worker --health-port` and `smith monitor --port`.
    """
    from .._core.exports.grafana import dashboard

    found = dashboard(load_contract(contract))
    _write(json.dumps(found, indent=2, ensure_ascii=False) + "\n", out)


@export.command
def prometheus_rules(*, contract: ContractName = None, out: Out = None) -> None:
    """Write alert rules for Prometheus, as YAML for `rule_files`.

    They are those of `smith monitor` without a file, and some about the processes themselves.
    """
    from .._core.exports.prometheus_rules import rules
    from .._core.exports.yaml import dump

    _write(dump(rules(load_contract(contract))), out)


@export.command
def keda(
    consumers: Annotated[list[str] | None, Parameter(name="CONSUMER", help="Default: all of the contract.", negative="")] = None,
    /,
    *,
    contract: ContractName = None,
    endpoint: Annotated[
        str, Parameter(help="Host and port of the server's monitoring (its http_port), as KEDA reaches it.")
    ] = "nats.nats.svc.cluster.local:8222",
    account: Annotated[str, Parameter(help="The account that has the streams.")] = "$G",
    https: Annotated[bool, Parameter(negative="", help="Whether the monitoring port uses HTTPS.")] = False,
    deployment: Annotated[
        str, Parameter(help='The Deployment that is scaled; "{consumer}" in it stands for the name of the consumer.')
    ] = "{consumer}",
    namespace: Annotated[str | None, Parameter(help="Of the Deployments. Default: that of `kubectl apply`.")] = None,
    lag: Annotated[
        int, Parameter(help="Messages not yet processed for which there is one replica.", validator=Number(gte=1, lte=_LARGEST))
    ] = 100,
    activation_lag: Annotated[
        int, Parameter(help="Messages up to which the minimum of replicas stays 0.", validator=Number(gte=0, lte=_LARGEST))
    ] = 0,
    least: Annotated[int, Parameter(name="--min", help="Replicas, at the least.", validator=Number(gte=0, lte=_LARGEST))] = 0,
    most: Annotated[int, Parameter(name="--max", help="Replicas, at the most.", validator=Number(gte=1, lte=_LARGEST))] = 10,
    out: Out = None,
) -> None:
    """Write a ScaledObject for each consumer, as YAML for `kubectl apply`.

    KEDA's scaler `nats-jetstream` then runs a worker's Deployment with as many replicas as its
    consumer's lag asks for. No consumer gets more of them than its max_ack_pending.
    """
    from .._core.exports.keda import Scaling, scaled_objects
    from .._core.exports.yaml import dump

    if not _ENDPOINT.fullmatch(endpoint):
        raise OptionsError(f"--endpoint {endpoint}: must be a host and a port, {_HINT}")
    if least > most:
        raise OptionsError(f"--min {least}: must be at most --max {most}")
    _require_name("--deployment", deployment.replace("{consumer}", "x"), deployment)
    if namespace is not None:
        _require_name("--namespace", namespace, namespace)
    if not account:
        raise OptionsError('--account: must be a name; "$G" is that of a server without accounts')
    scaling = Scaling(
        endpoint=endpoint,
        account=account,
        https=https,
        deployment=deployment,
        namespace=namespace,
        lag=lag,
        activation_lag=activation_lag,
        least=least,
        most=most,
    )
    found = scaled_objects(_chosen(load_contract(contract), consumers or ()), scaling)
    _write("---\n".join(map(dump, found)), out)


def _chosen(contract: Contract, wanted: Sequence[str]) -> list[ConsumerSpec[Any, Any]]:
    known = [one.name for one in contract.consumers]
    for name in wanted:
        if name not in known:
            raise OptionsError(
                f"consumer {name!r} is not declared in contract {contract.name!r}, which has {', '.join(known) or 'none'}"
            )
    if not known:
        raise OptionsError(f"contract {contract.name!r} declares no consumers")
    return [one for one in contract.consumers if not wanted or one.name in wanted]


def _require_name(option: str, name: str, given: str) -> None:
    if not _NAME.fullmatch(name):
        raise OptionsError(f"{option} {given}: must be small letters, digits, - and ., as Kubernetes has names")


def _write(text: str, out: Path | None) -> None:
    if out is None:
        sys.stdout.write(text)
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OptionsError(f"--out {out}: cannot be written: {error.strerror or error}") from None
    note(f"wrote {out}")
