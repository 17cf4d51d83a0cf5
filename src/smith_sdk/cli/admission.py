"""`smith admission`: runs the gate between raw and vetted intents, as a service."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter
from cyclopts.validators import Number

from ..aio import Admission, AsyncSmithBus
from ..aio.executor_check import NoExecutor
from ..errors import OptionsError, SmithError
from ..otel import instrument
from ..policy import FilePolicy, load
from ..trust import Trust
from .logs import Format, Level, LogOptions, report
from .options import ENVIRONMENT, Server
from .probes import HealthHost, HealthPort, ProbeOptions
from .processes import USAGE_ERROR
from .runner import AsyncHost
from .targets import Part, load_function
from .values import Duration, Seconds
from .worker import in_lower_case, run_parts

_SKEW: Final = 30.0


def admission(
    *,
    policy: Annotated[
        str, Parameter(help="A .toml file of rules, read again when it changes, or MODULE:FUNCTION, which takes an intent.")
    ],
    keys: Annotated[
        Path | None,
        Parameter(help="A file with one trusted public key a line, read again when it changes. Without: nothing is verified."),
    ] = None,
    require_signature: Annotated[bool, Parameter(help="With --keys: whether unsigned intents are denied.")] = True,
    max_clock_skew: Annotated[
        Seconds | None, Parameter(help="With --keys: seconds by which clocks may differ. Default: 30.")
    ] = None,
    replay_window: Annotated[
        Duration | None,
        Parameter(help="With --keys: deny intents that are valid for longer, such as 10m; 0s: remember none. Default: no limit."),
    ] = None,
    executor_id: Annotated[str, Parameter(help="The name of this gate in audit events.")] = "admission",
    concurrency: Annotated[int, Parameter(help="Intents that are decided about at once.", validator=Number(gte=1))] = 64,
    timeout: Annotated[Seconds, Parameter(help="Seconds that the policy may take for an intent.")] = 5.0,
    no_executor: Annotated[
        NoExecutor, Parameter(help="What becomes of intents that no consumer is declared for: deny or quarantine.")
    ] = "deny",
    telemetry: Annotated[
        bool,
        Parameter(negative=(), help="Report to OpenTelemetry, whose SDK `opentelemetry-instrument smith admission ...` starts."),
    ] = False,
    health_port: HealthPort = None,
    health_host: HealthHost = None,
    log_level: Annotated[Level | None, Parameter(help="Default: info.", converter=in_lower_case)] = None,
    log_format: Annotated[Format | None, Parameter(help="Lines of text, or a JSON object a line. Default: text.")] = None,
    log_config: Annotated[
        Path | None, Parameter(help="A .json or .toml file for logging.config.dictConfig, or an .ini file.")
    ] = None,
    server: Server = ENVIRONMENT,
) -> int:
    """Decide about raw intents until SIGTERM or Ctrl-C, then finish those in flight.

    With --keys, the signature of each intent is verified before the policy is called, and each
    intent is let through once. Several of these may run at once.

    The selected context of the nats command is not used: pass --context.

    Exit status 0 if it was stopped in good order, 1 if it fails, such as when a stream is missing,
    2 if an option, the policy or a key is not valid. A second signal releases the intents in flight
    at once: 130 after Ctrl-C, 143 after SIGTERM.
    """
    try:
        options = LogOptions(level=log_level, format=log_format, config=log_config)
        options.before_import()
        server.to_environment()
        probes = ProbeOptions.checked(health_port, health_host)
        trust = _trust(keys, require_signature, max_clock_skew, replay_window)
        rules = _rules(policy, trust)

        def make(host: AsyncHost) -> list[Part]:
            decide = load_function(policy) if rules is None else rules
            bus = AsyncSmithBus(name=executor_id)
            if telemetry:
                instrument(bus)
            gate = Admission(
                bus,
                policy=decide,
                executor_id=executor_id,
                concurrency=concurrency,
                timeout=timeout,
                trust=trust,
                no_executor=no_executor,
            )
            return [Part("smith admission", gate)]

        return run_parts(["smith admission"], make, options, probes=probes)
    except SmithError as error:
        report(str(error))
        return USAGE_ERROR if isinstance(error, OptionsError) else 1


def _trust(keys: Path | None, required: bool, skew: float | None, window: timedelta | None) -> Trust | None:
    if keys is not None:
        return Trust(
            keys=keys.expanduser(),
            require_signature=required,
            max_clock_skew=_SKEW if skew is None else skew,
            replay_window=window,
        )
    if not required or skew is not None or window is not None:
        raise OptionsError(
            "--no-require-signature, --max-clock-skew and --replay-window are about signed intents: pass --keys FILE with the "
            "public keys to trust"
        )
    return None


def _rules(policy: str, trust: Trust | None) -> FilePolicy | None:
    """The policy in a file; None if it is a function of a module."""
    if not policy.endswith(".toml"):
        if ":" not in policy:
            raise OptionsError(f"--policy {policy}: pass a .toml file, or MODULE:FUNCTION, such as gate:decide")
        return None
    return load(Path(policy).expanduser(), signers=trust is not None)
