"""`smith worker`: runs the workers and admissions of modules, in this process or in several."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final

from cyclopts import Parameter, Token, convert
from cyclopts.validators import Number

from .._core.log_records import LogFields, sdk_logger
from ..errors import OptionsError, SmithError
from ..trust import Trust
from .logs import Format, Level, LogOptions, report
from .options import ENVIRONMENT, Server
from .probes import HealthHost, HealthPort, ProbeOptions
from .processes import USAGE_ERROR, Arrived, EndedEarly, Lifeline, ProcessGroup, Signals
from .runner import AsyncHost, Ending, Events, Runner, exit_status
from .targets import WORKERS, NotLoaded, Part, add_working_directory, load, split

log: Final = sdk_logger("cli")


def in_lower_case(kind: Any, tokens: Sequence[Token]) -> Any:
    """`logging` itself writes levels in upper case."""
    return convert(kind, [token.evolve(value=token.value.lower()) for token in tokens])


def worker(
    targets: Annotated[
        list[str],
        Parameter(
            name="TARGET",
            help="MODULE:NAME, which is a Worker, an Admission, a list of them, or a function that makes them.",
            negative="",
        ),
    ],
    /,
    *,
    processes: Annotated[
        int, Parameter(help="Number of processes, each with all of the workers.", validator=Number(gte=1, lte=256))
    ] = 1,
    max_messages: Annotated[
        int | None, Parameter(help="Replace a process after this many messages of a worker.", validator=Number(gte=1))
    ] = None,
    keys: Annotated[
        Path | None,
        Parameter(help="Verify signatures: a file with one trusted public key a line, read again when it changes."),
    ] = None,
    reload: Annotated[bool, Parameter(negative="", help="Restart when a .py file of a module's package changes.")] = False,
    health_port: HealthPort = None,
    health_host: HealthHost = None,
    log_level: Annotated[Level | None, Parameter(help="Default: info.", converter=in_lower_case)] = None,
    log_format: Annotated[Format | None, Parameter(help="Lines of text, or a JSON object a line. Default: text.")] = None,
    log_config: Annotated[
        Path | None, Parameter(help="A .json or .toml file for logging.config.dictConfig, or an .ini file.")
    ] = None,
    server: Server = ENVIRONMENT,
    lifeline: Annotated[int | None, Parameter(show=False)] = None,
) -> int:
    """Run workers until SIGTERM or Ctrl-C, then finish the messages in flight and exit with 0.

    A module may be in the current directory. Its workers may be of either face; this command
    connects and closes their buses. A function that makes them takes no arguments; it may be async,
    or a context manager, which is left when they have stopped. With --processes, a process that
    dies is replaced.

    With --health-port, probes are answered over HTTP: /livez, /readyz, /healthz and /metrics. Of
    several processes, the first uses that port and each other one the next, which its successor
    uses as well.

    The options about the server are for buses that are made without a URL or credentials of their
    own. The selected context of the nats command is not used: pass --context.

    Exit status 0 if all have stopped in good order, 1 if one has failed, 2 if there is nothing of
    that name to run. A second signal releases the messages in flight at once: 130 after Ctrl-C, 143
    after SIGTERM.
    """
    try:
        options = LogOptions(level=log_level, format=log_format, config=log_config)
        options.before_import()
        server.to_environment()
        if not targets:
            raise OptionsError("smith worker needs a target: pass MODULE:NAME, such as jobs:worker")
        probes = ProbeOptions.checked(health_port, health_host, 1 if lifeline is not None else processes)
        add_working_directory()
        modules = [split(target)[0] for target in targets]
        if lifeline is not None or (processes == 1 and not reload and max_messages is None):
            load_all = partial(_loaded, targets, processes, keys)
            return run_parts(targets, load_all, options, max_messages=max_messages, lifeline=lifeline, probes=probes)
        options.after_import()  # nothing of the user's is imported here
        limit = [] if max_messages is None else ["--max-messages", str(max_messages)]
        trusted = [] if keys is None else ["--keys", str(keys)]
        arguments = ["worker", *targets, "--processes", str(processes), *limit, *trusted, *options.arguments]
        each = [[*arguments, *(probes.arguments(number) if probes is not None else [])] for number in range(processes)]
        return ProcessGroup(each, modules if reload else ()).run()
    except SmithError as error:
        report(str(error))
        return USAGE_ERROR if isinstance(error, OptionsError) else 1


def run_parts(
    targets: list[str],
    make: Callable[[AsyncHost], list[Part]],
    options: LogOptions,
    *,
    max_messages: int | None = None,
    lifeline: int | None = None,
    probes: ProbeOptions | None = None,
) -> int:
    """Run what `make` returns, for `targets` in logs, in this process; the exit status."""
    events: Events = Events()
    parent = ending = None
    try:
        with Signals(events) as signals:
            parent = None if lifeline is None else Lifeline(lifeline, lambda: events.put(Arrived.now(signal.SIGTERM)))
            with contextlib.ExitStack() as closing:
                host = AsyncHost(closing, events)
                parts = make(host)
                options.after_import()
                if probes is not None:
                    closing.enter_context(probes.serve(parts))
                runner = Runner(parts, host, events)
                if max_messages is not None:
                    runner.limit(max_messages)
                runner.configure_processes(options)

                def ready() -> None:
                    signals.queue()
                    if parent is not None:
                        parent.report_ready()

                ending = runner.run(ready)
                signals.raise_again()
    except EndedEarly as early:
        options.after_import()
        name = signal.Signals(early.number).name
        log.info("%s before the first message" if ending is None else "%s: not waiting for the rest to close", name)
        return exit_status(0 if ending is None else 128 + early.number)
    except NotLoaded as error:
        options.after_import()
        if parent is not None:
            parent.report_not_loaded()
        return exit_status(_log_failure(error))
    except Exception as error:
        options.after_import()
        if ending is not None:  # the cleanup of a factory, most likely
            _status(ending, targets)
            _log_failure(NotLoaded(f"closing what {', '.join(targets)} made failed", error))
            return exit_status(1)
        if not isinstance(error, SmithError):
            raise
        report(str(error))
        return exit_status(USAGE_ERROR if isinstance(error, OptionsError) else 1)
    if ending.is_recycled and parent is not None:
        parent.report_recycled()
    return exit_status(_status(ending, targets))


def _log_failure(error: NotLoaded) -> int:
    """Log what the user's code has raised; the exit status."""
    log.error("%s", error, exc_info=error.cause, extra=LogFields(error_type=type(error.cause).__name__))
    return error.status


def _loaded(targets: list[str], processes: int, keys: Path | None, host: AsyncHost) -> list[Part]:
    parts = load(targets, host)
    _check_servers(parts, processes)
    if keys is not None:
        _verify(parts, Trust(keys=keys.expanduser()))
    return parts


def _verify(parts: list[Part], trust: Trust) -> None:
    for part in parts:
        if not isinstance(part.aio, WORKERS):
            raise OptionsError(f"--keys: {part.target} is an Admission: pass trust=Trust(...) to it, or run `smith admission`")
        part.aio._verify(trust)


def _check_servers(parts: list[Part], processes: int) -> None:
    for part in parts:
        if processes > 1 and part.bus._server is not None:
            raise OptionsError(
                f"--processes {processes}: a bus of {part.target} is embedded(), so each process would start a private server: "
                f"pass it the url of a server that they share, such as that of `smith dev`"
            )


def _status(ending: Ending, targets: list[str]) -> int:
    error = ending.error
    if isinstance(error, SmithError):
        report(str(error))
        return USAGE_ERROR if isinstance(error, OptionsError) else 1
    if error is not None:
        fields = LogFields(error_type=type(error).__name__)
        log.error("a worker of %s ended with an error", ", ".join(targets), exc_info=error, extra=fields)
        return 1
    return 128 + ending.at_once if ending.at_once else 0
