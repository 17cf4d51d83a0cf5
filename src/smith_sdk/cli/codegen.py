"""`smith codegen`: the generator, as `smith-codegen` runs it."""

from __future__ import annotations

from pathlib import Path

from .output import note


def codegen(spec: Path = Path("subjects.toml"), out_dir: Path = Path(), /, *, check: bool = False) -> int:
    """Generate typed subjects and payloads from SPEC into the package directory OUT_DIR."""
    if not spec.is_file():
        note(f"smith: there is no spec {spec}: pass the file, as in `smith codegen SPEC OUT_DIR`")
        return 2
    from smith_codegen.cli import main as generate

    return generate([str(spec), str(out_dir), *(["--check"] if check else [])])
