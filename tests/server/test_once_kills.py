"""Workers that run each intent once are killed at every step: what has ended is not run again."""

from __future__ import annotations

from pathlib import Path

import pytest
from buses import Account
from chaos.once import check_kills


@pytest.mark.parametrize(("mode", "face"), [("result", "async"), ("claim", "blocking")])
async def test_what_a_killed_worker_has_recorded_is_not_run_again(mode: str, face: str, account: Account, tmp_path: Path) -> None:
    """And what it has not is, however the worker died. tests/chaos has the other combinations."""
    await check_kills(face, 0, mode, account, tmp_path)
