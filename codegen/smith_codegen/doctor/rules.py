"""The rules under which each checker reports wrong uses of a contract, measured on the canary and
on the lines of tests/typing. mypy's and zuban's are `canary.CODES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_PYRIGHT: Final = (
    "reportArgumentType", "reportAssignmentType", "reportAttributeAccessIssue", "reportCallIssue", "reportGeneralTypeIssues",
    "reportIndexIssue", "reportInvalidTypeArguments", "reportMissingImports", "reportOperatorIssue", "reportOptionalMemberAccess",
    "reportReturnType",
)  # fmt: skip

RULES: Final[Mapping[str, tuple[str, ...]]] = {
    "pyright": _PYRIGHT,
    "basedpyright": _PYRIGHT,
    "pyrefly": (
        "bad-argument-count", "bad-argument-type", "bad-assignment", "bad-return", "bad-specialization", "missing-argument",
        "missing-attribute", "missing-import", "missing-module-attribute", "no-matching-overload", "unexpected-keyword",
        "unexpected-positional-argument", "unsupported-operation",
    ),
    "ty": (
        "all", "invalid-argument-type", "invalid-assignment", "invalid-return-type", "invalid-type-arguments",
        "missing-argument", "missing-attribute", "no-matching-overload", "possibly-missing-attribute",
        "too-many-positional-arguments", "unknown-argument", "unresolved-attribute", "unresolved-import", "unsupported-operator",
    ),
}  # fmt: skip
