"""The sessions that people and CI run; `nox --list` shows them.

`nox -s demo` and `nox -s tests` need nothing but Python. Environments are kept between runs and
brought up to date by each; `nox -R` leaves them as they are. stdout is the commands' own output;
nox logs on stderr.
"""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nox

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_venv = "yes"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["lint", "typing", "tests"]

PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
# Most tests wait for servers and processes, so there are two at a time for each core.
# `-- -n 0` is one after the other.
SIDE_BY_SIDE = ("-n", str(2 * (os.cpu_count() or 1)), "--dist", "worksteal")
NEWEST = (  # what meets nats-py's internals
    "tests/unit/test_nats_py_names.py",
    "tests/server/test_connection.py",
    "tests/server/test_ack_window.py",
    "tests/server/test_pull_loop.py",
)
HALVES = (("tests/server",), ("tests/codegen", "tests/docs", "tests/typing", "tests/unit"))
CHAOS = (
    "tests/chaos",
    "tests/docs/test_benchmarks.py::test_the_pipeline_loses_nothing_and_its_load_is_measured",
    "tests/docs/test_benchmarks.py::test_shares_of_workers_in_processes_of_their_own",
    "tests/docs/test_benchmarks.py::test_what_shards_cost_the_servers",
)
PUBLISHED = (
    "tests/docs/test_pages.py",
    "tests/docs/test_benchmarks.py::test_every_other_part_runs_alone_and_has_figures",
    "tests/docs/test_benchmarks.py::test_parts_that_are_measured_against_publish_many",
    "tests/docs/test_benchmarks.py::test_how_costs_grow_on_one_axis",
)
WALKS = (  # of docs/
    "tutorial",
    "howto/fastapi",
    "howto/notebook",
    "howto/spec",
    "howto/testing",
    "howto/signing",
    "howto/read",
    "howto/command-line",
    "howto/streams",
    "howto/dead-letters",
    "howto/production",
    "howto/admission",
    "security",
)
EXTRAS = "server,cli,codegen,signing,websocket,uvloop,testing,metrics,otel,plot,top"
GROUPS = nox.project.load_toml("pyproject.toml")


def group(name: str) -> list[str]:
    """The requirements of a dependency group; any pip can install these."""
    return list(nox.project.dependency_groups(GROUPS, name))


@nox.session
def demo(session: nox.Session) -> None:
    """The main job, on an embedded server: `nox -s demo -- [PATH] [--workers N] [--json]`."""
    session.install(".[server,cli]")
    session.run("python", "-m", "smith_sdk.cli", "demo", *session.posargs)


@nox.session
def codegen(session: nox.Session) -> None:
    """Generate code from subjects.toml; with `-- --check`, fail if a committed file differs."""
    session.install("-e", f".[{EXTRAS}]")
    session.run("smith-codegen", "subjects.toml", "src/smith_sdk", *session.posargs)
    session.run("python", "-m", "smith_codegen.faces", "src/smith_sdk", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """ruff: check and format."""
    session.install(*group("lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def typing(session: nox.Session) -> None:
    """mypy --strict and pyright over the SDK, the generator, the tests and the benchmarks."""
    session.install("-e", f".[{EXTRAS}]", *group("dev"))
    with ThreadPoolExecutor() as both:  # each keeps one core busy for most of a minute
        list(both.map(session.run, ("mypy", "pyright")))


@nox.session
def checkers(session: nox.Session) -> None:
    """What the doctor says of mypy with many settings, basedpyright, pyrefly, ty and zuban."""
    session.install("-e", f".[{EXTRAS}]", *group("dev"), "basedpyright", "pyrefly>=1.5", "ty", "zuban")
    tests = ("tests/codegen/test_doctor.py", "tests/codegen/test_doctor_checkers.py")
    session.run("pytest", *tests, *SIDE_BY_SIDE, *session.posargs, env={"SMITH_CHECKERS": "all"})


@nox.session
@nox.parametrize("mypy", ["1.18.*", ""], ids=["mypy-1.18", "mypy-newest"])
def typing_all(session: nox.Session, mypy: str) -> None:
    """The lines of tests/typing in all type checkers, with the oldest mypy and with the newest."""
    session.install("-e", f".[{EXTRAS}]", *group("test"), *group("typing"), *group("checkers"))
    session.install("--upgrade", f"mypy=={mypy}" if mypy else "mypy")
    session.run("pytest", "tests/typing", *session.posargs, env={"SMITH_CHECKERS": "all"})


@nox.session
def tests(session: nox.Session) -> None:
    """pytest against the built wheel, on this Python: `nox -s tests -- [arguments of pytest]`."""
    run_tests(session, *SIDE_BY_SIDE, everything=True)


@nox.session(python=PYTHONS)
def tests_all(session: nox.Session) -> None:
    """The same on every supported Python that is installed."""
    run_tests(session, *SIDE_BY_SIDE, everything=True)


@nox.session
def chaos(session: nox.Session) -> None:
    """Servers, links, leaders and workers killed under load; minutes. `-- -k leaders`: some."""
    run_tests(session, *CHAOS, "-m", "", "-k", "not small", *SIDE_BY_SIDE)


@nox.session
def pages(session: nox.Session) -> None:
    """Every block of every page, run as a reader would; every part of the benchmark, quickly."""
    run_tests(session, *PUBLISHED, "-m", "", *SIDE_BY_SIDE)


@nox.session
def tests_latest(session: nox.Session) -> None:
    """Connection, window and pull tests against the newest nats-py, pre-releases included."""
    wheel = install_wheel(session)
    session.install("--upgrade", "--pre", "nats-py")
    session.run("python", "-c", "from importlib.metadata import version; print('nats-py', version('nats-py'))")
    run_pytest(session, wheel, *NEWEST, *SIDE_BY_SIDE)


@nox.session
def coverage(session: nox.Session) -> None:
    """The tests with branch coverage, processes included; `-- tests/unit`: a part, without gate."""
    wheel = install_wheel(session, "coverage")
    folder = Path(session.create_tmp()) / "coverage"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    # Absolute: the processes that tests start run in folders of their own.
    env = {"COVERAGE_FILE": str((folder / "data").resolve()), "COVERAGE_RCFILE": str(Path("pyproject.toml").resolve())}
    session.env.update(env)
    run_pytest(session, wheel, *SIDE_BY_SIDE, runner=("coverage", "run", "-m"))
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report", *(["--fail-under=0"] if session.posargs else []))


@nox.session
def mutate(session: nox.Session) -> None:
    """Random mutations of the SDK, each against its tests: `nox -s mutate -- --sample 30`."""
    session.install("-e", f".[{EXTRAS}]", *group("test"), *group("typing"))
    session.run("python", "tools/mutate.py", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation into build/docs, strictly and offline: open build/docs/index.html."""
    session.install("-e", f".[{EXTRAS}]", *group("docs"))
    session.run("mkdocs", "build", "--strict", *session.posargs, env={"NO_MKDOCS_2_WARNING": "1"})


@nox.session
def walk(session: nox.Session) -> None:
    """Pages of docs/ step by step, each in a new environment with what the page installs."""
    wheel = build_wheel(session)
    pages = session.posargs or [f"docs/{page}.md" for page in WALKS]
    # Outside the repository, whose pytest configuration would hold for a reader's tests, too.
    session.run("python", "tests/docs/walk.py", str(wheel), *pages, env={"TMPDIR": None})


@nox.session
def bench(session: nox.Session) -> None:
    """The benchmarks, as tables; `-- --json FILE` also writes the figures as one JSON object."""
    run_benchmarks(session)


@nox.session(python=PYTHONS)
def bench_all(session: nox.Session) -> None:
    """The same on another Python: natsio, one of the peers, needs `nox -s bench_all -p 3.13`."""
    run_benchmarks(session)


def run_benchmarks(session: nox.Session) -> None:
    session.install(f".[{EXTRAS}]", *group("bench"))
    session.run("python", "benchmarks/run.py", *session.posargs)


def run_tests(session: nox.Session, *arguments: str, everything: bool = False) -> None:
    wheel = install_wheel(session)
    if everything and not session.posargs:
        rewrite_tests(session, wheel)
    run_pytest(session, wheel, *arguments)


def rewrite_tests(session: nox.Session, wheel: Path) -> None:
    """Have pytest rewrite the asserts of all tests once and keep the result: otherwise each of its
    processes does so for itself, which takes a quarter of a minute of processor time in each."""

    def collect(part: tuple[str, ...]) -> None:
        kept = {"SMITH_TEST_WHEEL": str(wheel), "PYTHONDONTWRITEBYTECODE": None}
        session.run("pytest", "--collect-only", "-qq", *part, env=kept, silent=True)

    with ThreadPoolExecutor() as both:
        list(both.map(collect, HALVES))


def compile_packages(session: nox.Session) -> None:
    """Compile what `install --no-compile` has left: pip does that on one core, and their tests,
    too."""
    folder = session.run("python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'), end='')", silent=True)
    # 1: some packages have templates of programs, which are no Python yet.
    session.run("python", "-m", "compileall", "-qq", "-j", "0", "-x", r"[/\\]tests[/\\]", str(folder), success_codes=[0, 1])


def install_wheel(session: nox.Session, *groups: str) -> Path:
    """Build the wheel and install it with what the tests need."""
    wheel = build_wheel(session)
    needed = [requirement for name in ("test", "typing", *groups) for requirement in group(name)]
    session.install("--no-compile", f"{wheel}[{EXTRAS}]", *needed)
    # In an environment of an earlier run, pip takes a wheel of the same version for the same wheel.
    session.install("--no-compile", "--force-reinstall", "--no-deps", str(wheel))
    compile_packages(session)
    return wheel


def build_wheel(session: nox.Session) -> Path:
    wheels = Path(session.create_tmp()) / "wheels"
    shutil.rmtree(wheels, ignore_errors=True)
    session.run("python", "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(wheels), ".", silent=True)
    (wheel,) = wheels.glob("*.whl")
    return wheel.resolve()


def run_pytest(session: nox.Session, wheel: Path, *arguments: str, runner: tuple[str, ...] = ()) -> None:
    """pytest against the installed `wheel`, with `nox -s ... -- [these arguments]` last."""
    session.run(*runner, "pytest", *arguments, *session.posargs, env={"SMITH_TEST_WHEEL": str(wheel)})
