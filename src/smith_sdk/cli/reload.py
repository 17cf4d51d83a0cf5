"""Notices changes of the .py files of modules, for `smith worker --reload`."""

from __future__ import annotations

import importlib.util
import logging
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from ..errors import OptionsError

_STEP: Final = 50
"""Milliseconds without a change that end a group of changes."""


class Watcher:
    """Watches the packages of `modules`, or the directories of modules that are in none.

    Raises `OptionsError` if a module has no files, or if watchfiles is not installed.
    """

    def __init__(self, modules: Sequence[str]) -> None:
        try:
            import watchfiles
        except ImportError:
            raise OptionsError("--reload needs watchfiles: pip install 'smith-sdk[cli]'") from None
        logging.getLogger("watchfiles").setLevel(logging.WARNING)  # "1 change detected"; the restart is logged
        self._watch: Callable[..., Any] = watchfiles.watch
        self._packages: set[str] = set()
        self._directories: set[str] = set()
        self._ended = threading.Event()
        for module in modules:
            self._add(module.partition(".")[0])

    def _add(self, top: str) -> None:
        spec = importlib.util.find_spec(top)
        if spec is None or not (spec.submodule_search_locations or spec.has_location):
            raise OptionsError(f"--reload: no module {top} with files in {os.getcwd()}, installed, or on PYTHONPATH")
        if spec.submodule_search_locations:
            self._packages.update(map(os.path.realpath, spec.submodule_search_locations))
        elif spec.origin is not None:
            self._directories.add(os.path.realpath(Path(spec.origin).parent))

    def start(self, changed: Callable[[str], None], failed: Callable[[Exception], None]) -> None:
        """Call `changed` in a thread with one file of each group of changes, until `stop`.

        `failed` is called instead if they cannot be watched.
        """
        # A package with its folders; a directory without, since it may hold a whole checkout.
        for paths, recursive in ((self._packages, True), (self._directories, False)):
            if paths:
                arguments = (sorted(paths), recursive, changed, failed)
                threading.Thread(target=self._run, args=arguments, name="smith-reload", daemon=True).start()

    def stop(self) -> None:
        self._ended.set()

    def _run(
        self, paths: Sequence[str], recursive: bool, changed: Callable[[str], None], failed: Callable[[Exception], None]
    ) -> None:
        try:
            for group in self._watch(
                *paths,
                watch_filter=lambda _, path: path.endswith(".py"),
                step=_STEP,
                stop_event=self._ended,
                recursive=recursive,
                raise_interrupt=False,
                ignore_permission_denied=True,
            ):
                changed(min(path for _, path in group))
        except Exception as error:  # such as a limit of the system
            failed(error)
