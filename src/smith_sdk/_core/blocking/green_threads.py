"""Whether gevent or eventlet has replaced what the loop's thread needs; imports neither."""

from __future__ import annotations

import sys
from typing import Final

from ...errors import BlockingCallError

_REMEDY: Final = (
    "The blocking face needs a thread of the system for its event loop. Use AsyncSmithBus, run the program without {0} "
    "(gunicorn -k gthread, celery -P threads or prefork), or leave the blocking face to a process that is not patched"
)


def refuse_green_threads() -> None:
    """Raise `BlockingCallError` in a program whose threads or selectors gevent or eventlet
    replaced.

    There, a thread is a greenlet of the calling thread, and its event loop runs inside the caller.
    """
    gevent, eventlet = sys.modules.get("gevent.monkey"), sys.modules.get("eventlet.patcher")
    if gevent is not None and any(gevent.is_module_patched(name) for name in ("threading", "_thread", "select", "selectors")):
        raise BlockingCallError(f"gevent has replaced threads or select (monkey.patch_all). {_REMEDY.format('gevent')}")
    if eventlet is not None and eventlet.is_monkey_patched("thread"):
        raise BlockingCallError(f"eventlet has replaced threads (monkey_patch). {_REMEDY.format('eventlet')}")
