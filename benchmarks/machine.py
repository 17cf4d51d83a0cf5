"""The machine and the versions that the figures were measured on."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import distributions, version
from pathlib import Path

from smith_sdk.embedded import find_nats_server


def facts() -> dict[str, str | int]:
    """The names of a report: processor, cores, Python, nats-server, smith-sdk, and the peers that
    are installed."""
    said = subprocess.run([find_nats_server(), "--version"], capture_output=True, text=True, check=True).stdout
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 0,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "nats_server": said.split("v")[-1].strip(),
        "smith_sdk": version("smith-sdk"),
        "nats_py": version("nats-py"),
        **{
            name.replace("-", "_"): version(name)
            for name in ("natsio", "natsio-jetstream-batch", "faststream", "uvloop")
            if list(distributions(name=name))
        },
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()
