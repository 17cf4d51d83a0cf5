# generated from subjects.toml by smith-codegen; do not edit
# fmt: off
# isort: skip_file
# ruff: noqa
# ruff: noqa: PGH004
# mypy: allow-any-decorated, allow-any-explicit, allow-any-expr
# mypy: disable-error-code="explicit-override, redundant-expr"
# pyright: reportCallInDefaultInitializer=false, reportImplicitOverride=false, reportImportCycles=false
# pyright: reportMissingSuperCall=false, reportPrivateUsage=false, reportUnknownVariableType=false
# pyright: reportUnnecessaryIsInstance=false, reportUnusedFunction=false
"""The subjects of the bus: `subjects.<namespace>.<name>` is a class.

It is imported on first use.
"""

from typing import TYPE_CHECKING

__all__ = [
    "DlqMsg",
    "ResultsMsg",
    "ai_sdlc",
    "audit",
    "benchmark",
    "capability",
    "dlq",
    "events",
    "gitlab",
    "intents",
    "logs",
    "orchestrator",
    "parse",
    "results",
]

if TYPE_CHECKING:
    from smith_sdk.contract import AnySubject as _AnySubject

    from . import ai_sdlc as ai_sdlc
    from . import audit as audit
    from . import benchmark as benchmark
    from . import capability as capability
    from . import events as events
    from . import gitlab as gitlab
    from . import intents as intents
    from . import logs as logs
    from . import orchestrator as orchestrator
    from ._dlq import Dlq as dlq
    from ._dlq import DlqMsg as DlqMsg
    from ._results import Results as results
    from ._results import ResultsMsg as ResultsMsg

    def parse(subject: str) -> _AnySubject:
        """The typed subject for `subject`; raises `UnknownSubject`, `InvalidToken`."""
        ...

else:
    # Checkers must not see this: a module `__getattr__` would turn every misspelt name into Any.
    from smith_sdk.contract import lazy_names as _lazy_names

    __getattr__, __dir__ = _lazy_names(
        __name__,
        {
            "parse": "..topology:CONTRACT.parse",
            "dlq": "._dlq:Dlq",
            "DlqMsg": "._dlq:DlqMsg",
            "results": "._results:Results",
            "ResultsMsg": "._results:ResultsMsg",
            "ai_sdlc": ".ai_sdlc",
            "audit": ".audit",
            "benchmark": ".benchmark",
            "capability": ".capability",
            "events": ".events",
            "gitlab": ".gitlab",
            "intents": ".intents",
            "logs": ".logs",
            "orchestrator": ".orchestrator",
        },
    )
