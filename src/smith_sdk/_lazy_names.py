"""Names of a package that are imported when they are first used.

Imports little, so that `import smith_sdk` costs hardly more than Python's own start.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # as `typing` has it, which takes half as long to import as Python to start
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any


def lazy_names(package: str, names: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return `__getattr__` and `__dir__` for a package whose `names` are defined in other modules.

    `names` maps a name to ".module" or ".module:attribute", relative to `package`. Each name is
    looked up once and then kept in the package, unless it is deprecated (PEP 702): then there is a
    `DeprecationWarning` wherever it is used.
    """

    def get(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, _, attribute = names[name].partition(":")
        from importlib import import_module

        found: Any = import_module(module, package)
        for part in attribute.split(".") if attribute else ():
            found = getattr(found, part)
        deprecated = getattr(found, "__dict__", {}).get("__deprecated__")
        if deprecated is None:
            setattr(sys.modules[package], name, found)
        else:  # kept out of the package, so that each place that uses it is warned about
            import warnings

            warnings.warn(f"{package}.{name} is deprecated: {deprecated}", DeprecationWarning, stacklevel=2)
        return found

    return get, lambda: sorted(names)
