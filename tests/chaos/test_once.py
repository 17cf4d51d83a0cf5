"""Workers with `once=` are killed at every step, on both faces, with handlers of every kind."""

from __future__ import annotations

from pathlib import Path

import pytest
from buses import Account
from chaos.once import check_kills

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]


@pytest.mark.parametrize("mode", ["result", "claim"])
@pytest.mark.parametrize(("face", "processes"), [("async", 0), ("blocking", 0), ("async", 1), ("blocking", 1)])
async def test_once_kills(face: str, processes: int, mode: str, account: Account, tmp_path: Path) -> None:
    await check_kills(face, processes, mode, account, tmp_path)
