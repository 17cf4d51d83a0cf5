"""The bases of generated subject classes.

Type checkers refuse subclasses and instances of the classes in `subjects.py` that users write by
hand; these are the same classes without that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Never, cast

import msgspec

from . import headers, subjects
from .subjects import M_co, MessageT, ReplyT, S_co, make_cap, make_filter

__all__ = [
    "CoreSubject",
    "HeadedSubject",
    "ReadOnlySubject",
    "RequestSubject",
    "StreamSubject",
    "Subscribable",
    "make_cap",
    "make_filter",
]

if TYPE_CHECKING:

    class Subscribable(subjects.Subscribable[M_co, S_co]):  # type: ignore[call-arg]
        def __init_subclass__(cls, **config: Any) -> None: ...

    class StreamSubject(subjects.StreamSubject[MessageT], Generic[MessageT], frozen=True, kw_only=True):
        only_generated_classes_can_be_made: Never = msgspec.field(default=cast("Never", None))

        def __init__(self, *, only_generated_classes_can_be_made: Never) -> None: ...

    class CoreSubject(subjects.CoreSubject[MessageT], Generic[MessageT], frozen=True, kw_only=True):
        only_generated_classes_can_be_made: Never = msgspec.field(default=cast("Never", None))

        def __init__(self, *, only_generated_classes_can_be_made: Never) -> None: ...

    class HeadedSubject(headers.HeadedSubject[MessageT], Generic[MessageT], frozen=True, kw_only=True):
        only_generated_classes_can_be_made: Never = msgspec.field(default=cast("Never", None))

        def __init__(self, *, only_generated_classes_can_be_made: Never) -> None: ...

    class ReadOnlySubject(subjects.ReadOnlySubject[MessageT], Generic[MessageT], frozen=True, kw_only=True):
        only_generated_classes_can_be_made: Never = msgspec.field(default=cast("Never", None))

        def __init__(self, *, only_generated_classes_can_be_made: Never) -> None: ...

    class RequestSubject(
        subjects.RequestSubject[MessageT, ReplyT, S_co], Generic[MessageT, ReplyT, S_co], frozen=True, kw_only=True
    ):
        only_generated_classes_can_be_made: Never = msgspec.field(default=cast("Never", None))

        def __init__(self, *, only_generated_classes_can_be_made: Never) -> None: ...

else:
    Subscribable = subjects.Subscribable
    StreamSubject = subjects.StreamSubject
    CoreSubject = subjects.CoreSubject
    HeadedSubject = headers.HeadedSubject
    ReadOnlySubject = subjects.ReadOnlySubject
    RequestSubject = subjects.RequestSubject
