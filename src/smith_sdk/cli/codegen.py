"""`smith codegen`: the generator, as `smith-codegen` runs it."""

from __future__ import annotations

from pathlib import Path


def codegen(spec: Path = Path("subjects.toml"), out_dir: Path = Path(), /, *, check: bool = False) -> int:
    """Generate typed subjects and payloads from SPEC into the package directory OUT_DIR."""
    from smith_codegen.cli import main as generate

    return generate([str(spec), str(out_dir), *(["--check"] if check else [])])
