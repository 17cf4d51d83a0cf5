"""`smith monitor`: watches the bus, and tells when a rule begins to hold and when it ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from contextlib import AbstractContextManager
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import urlsplit

from cyclopts import Parameter
from cyclopts.validators import Number

from .._core.log_records import sdk_logger
from ..errors import OptionsError, SmithError
from .logs import Format, Level, LogOptions, report
from .monitor_config import MonitorConfig, read_config, require_profile
from .options import HERE, Profile, Where
from .output import json_line, say, warn
from .processes import USAGE_ERROR
from .worker import in_lower_case

if TYPE_CHECKING:
    from ..aio import Alert, AlertMonitor, AsyncSmithBus

log: Final = sdk_logger("cli")

_URL: Final = "SMITH_WEBHOOK_URL"
_SECRET: Final = "SMITH_WEBHOOK_SECRET"


def monitor(
    config: Annotated[Path | None, Parameter(help="A .toml file of rules and webhooks. Default: the usual rules.")] = None,
    /,
    *,
    webhook: Annotated[
        str | None,
        Parameter(
            env_var=_URL,
            help="A URL that alerts are posted to. It shows in the process list: pass one with a password in the variable.",
        ),
    ] = None,
    secret_file: Annotated[
        Path | None, Parameter(help=f"A file with the secret that signs them. Default: the variable {_SECRET}, or unsigned.")
    ] = None,
    port: Annotated[
        int | None, Parameter(help="Answer probes and /metrics on this port.", validator=Number(gte=0, lte=65535))
    ] = None,
    host: Annotated[str, Parameter(help="With --port: the address to listen on.")] = "127.0.0.1",
    check: Annotated[bool, Parameter(negative="", help="Only say whether the file is valid.")] = False,
    profile: Profile = None,
    log_level: Annotated[Level | None, Parameter(help="Default: info.", converter=in_lower_case)] = None,
    log_format: Annotated[Format | None, Parameter(help="Lines of text, or a JSON object a line. Default: text.")] = None,
    log_config: Annotated[
        Path | None, Parameter(help="A .json or .toml file for logging.config.dictConfig, or an .ini file.")
    ] = None,
    where: Where = HERE,
    json: Annotated[bool, Parameter(name="--json", negative="", help="Print a JSON object for each alert, one a line.")] = False,
) -> int:
    """Watch consumers and streams until SIGTERM or Ctrl-C, and print each alert.

    Alerts are lines on standard output, logs go to standard error. A server that is not there is
    waited for; after a minute that is an alert, too. Run one of these for a bus: two tell
    everything twice.

    Exit status 0 if it was stopped, or if --check finds no mistake; 1 if it fails, such as when
    streams may not be listed; 2 if an option or the file is not valid.
    """
    try:
        options = LogOptions(level=log_level, format=log_format, config=log_config)
        options.before_import()
        found = _configured(config, where, webhook, secret_file)
        if profile is not None:
            require_profile(where.declared, profile)
        if check:
            return _checked(found, where, profile, config)
        options.after_import()
        asyncio.run(_watch(found, where, profile, port, host, json))
    except SmithError as error:
        report(str(error))
        return USAGE_ERROR if isinstance(error, OptionsError) else 1
    return 0


def _configured(config: Path | None, where: Where, webhook: str | None, secret_file: Path | None) -> MonitorConfig:
    from ..alerts import default_rules, to_webhook

    contract = where.declared
    found = MonitorConfig(rules=default_rules(contract)) if config is None else read_config(config.expanduser(), contract)
    if webhook is not None:
        _warn_of_password(webhook)
        variable = _SECRET if secret_file is None and os.environ.get(_SECRET) else None
        secret = None if secret_file is None else secret_file.expanduser()
        found.notify.append(to_webhook(webhook, secret_file=secret, secret_env=variable))
    elif secret_file is not None:
        raise OptionsError("--secret-file signs what is sent to --webhook: pass both, or write secret_file in the file")
    return found


def _warn_of_password(webhook: str) -> None:
    if webhook != os.environ.get(_URL) and "@" in urlsplit(webhook).netloc:
        warn(f"a password in --webhook shows in the process list, to every user of this machine: pass the URL in {_URL}")


def _checked(found: MonitorConfig, where: Where, profile: str | None, config: Path | None) -> int:
    from ..aio import AsyncSmithBus

    _monitor(AsyncSmithBus(contract=where.declared, profile=found.profile if profile is None else profile), found, [])
    count = f"{len(found.rules)} rule{'' if len(found.rules) == 1 else 's'}"
    say(f"{'the usual rules are' if config is None else f'{config} is'} valid: {count}, {len(found.notify)} to tell")
    return 0


async def _watch(found: MonitorConfig, where: Where, profile: str | None, port: int | None, host: str, json: bool) -> None:
    from ..aio import AsyncSmithBus

    arguments, _ = where.connecting()
    bus = AsyncSmithBus(
        contract=where.declared,
        profile=found.profile if profile is None else profile,
        connect_mode="wait",
        name="smith-monitor",
        **arguments,
    )
    watching = _monitor(bus, found, [_print_json if json else _print])
    with watching._until_stopped(None) as stopping:  # also while it connects, and closes
        await bus.connect()
        try:
            with _served(bus, watching, port, host):
                log.info("watching %s by %d rules", bus.url, len(found.rules))
                await watching._run(stopping)
        finally:
            await bus.close()


def _monitor(bus: AsyncSmithBus, found: MonitorConfig, notify: list[Any]) -> AlertMonitor:
    from ..aio import AlertMonitor

    return AlertMonitor(bus, found.rules, notify=[*notify, *found.notify], **found.options)


def _served(bus: AsyncSmithBus, watching: AlertMonitor, port: int | None, host: str) -> AbstractContextManager[Any]:
    from .. import health

    return contextlib.nullcontext() if port is None else health.serve(bus, port, host, watching)


def _print(alert: Alert) -> None:
    when = alert.since if alert.until is None else alert.until
    say(
        f"{when.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}  {alert.state:<8}  {alert.severity:<8}  {alert.rule}  {alert.reason}{_remedy(alert)}"
    )


def _remedy(alert: Alert) -> str:
    return f": {alert.remedy}" if alert.remedy else ""


def _print_json(alert: Alert) -> None:
    sys.stdout.write(f"{json_line(alert)}\n")
    sys.stdout.flush()
