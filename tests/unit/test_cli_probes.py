"""`--health-port` and `--health-host`: which process answers probes where."""

from __future__ import annotations

import pytest

from smith_sdk.cli.probes import ProbeOptions
from smith_sdk.errors import OptionsError


def test_each_process_has_the_next_port() -> None:
    options = ProbeOptions.checked(9000, None, 3)
    assert options is not None
    assert [options.arguments(number) for number in (0, 2)] == [
        ["--health-port", "9000", "--health-host", "127.0.0.1"],
        ["--health-port", "9002", "--health-host", "127.0.0.1"],
    ]
    picked = ProbeOptions.checked(0, "::", 3)
    assert picked is not None
    assert picked.arguments(2) == ["--health-port", "0", "--health-host", "::"]


def test_options_that_do_not_fit_are_refused() -> None:
    assert ProbeOptions.checked(None, None, 3) is None
    assert ProbeOptions.checked(65535, None) is not None
    with pytest.raises(OptionsError, match="--health-host ::1: it goes with --health-port"):
        ProbeOptions.checked(None, "::1")
    with pytest.raises(OptionsError, match="--health-port 65534: 3 processes use a port each"):
        ProbeOptions.checked(65534, None, 3)
