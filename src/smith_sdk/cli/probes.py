"""`--health-port` and `--health-host`: probes of the processes that run workers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Annotated, Final, Self

from cyclopts import Parameter
from cyclopts.validators import Number

from ..errors import OptionsError
from .targets import Part

_HOST: Final = "127.0.0.1"
_HIGHEST: Final = 65535

HealthPort = Annotated[
    int | None,
    Parameter(
        help="Answer probes over HTTP at this port; 0 picks one that is free, and logs it.",
        validator=Number(gte=0, lte=_HIGHEST),
    ),
]
HealthHost = Annotated[
    str | None, Parameter(help="With --health-port: the address, such as 0.0.0.0, or :: for all. Default: 127.0.0.1.")
]


@dataclass(frozen=True)
class ProbeOptions:
    """Where the probes of a process are served."""

    port: int
    host: str

    @classmethod
    def checked(cls, port: int | None, host: str | None, processes: int = 1) -> Self | None:
        """None without a port. Raises `OptionsError`."""
        if port is None:
            if host is not None:
                raise OptionsError(
                    f"--health-host {host}: it goes with --health-port, which says at which port probes are answered"
                )
            return None
        if port + processes - 1 > _HIGHEST:
            raise OptionsError(f"--health-port {port}: {processes} processes use a port each, and the last one is {_HIGHEST}")
        return cls(port, _HOST if host is None else host)

    def arguments(self, number: int) -> list[str]:
        """Those of process `number`, from 0."""
        return ["--health-port", str(self.port + number if self.port else 0), "--health-host", self.host]

    def serve(self, parts: Sequence[Part]) -> AbstractContextManager[object]:
        """Answer probes about the buses of `parts`, which are ready once each part works."""
        from ..health import serve_all

        expected = Counter(part.bus for part in parts)
        return serve_all(expected, self.port, self.host, expected=expected)
