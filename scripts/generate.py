"""Write the stubs in `service/unitscope/_gen/` from `proto/`; with --check, only compare.

Run by `make generate` and `make lint` with the environment that has the pinned generator.
"""

from __future__ import annotations

import filecmp
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"
STUBS = ROOT / "service" / "unitscope" / "_gen"
GENERATOR = ROOT / ".venv" / "generate" / "bin" / "python"
PACKAGE = "unitscope._gen"


def main() -> None:
    """Generate, or exit with a status and the names of the files that differ."""
    if "--check" not in sys.argv:
        generate(STUBS)
        return
    with tempfile.TemporaryDirectory() as fresh:
        generate(Path(fresh))
        stale = differing(Path(fresh))
    if stale:
        sys.exit(f"stubs differ from proto/ (run make generate): {', '.join(stale)}")


def generate(target: Path) -> None:
    """Run protoc over every file of the contract and make its imports fit the package."""
    sources = sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))
    outputs = [f"--{kind}_out={target}" for kind in ("python", "pyi", "grpc_python")]
    command = [str(GENERATOR), "-m", "grpc_tools.protoc", f"-I{PROTO}", *outputs, *sources]
    subprocess.run(command, check=True, cwd=PROTO)
    for path in [*target.rglob("*_pb2*.py"), *target.rglob("*_pb2*.pyi")]:
        rewritten = re.sub(
            r"^from unitscope\.", f"from {PACKAGE}.unitscope.", path.read_text(), flags=re.M
        )
        path.write_text(rewritten)
    for directory in (target, *(path for path in target.rglob("*") if path.is_dir())):
        if directory.name != "__pycache__":
            (directory / "__init__.py").touch()


def differing(fresh: Path) -> list[str]:
    """Files that are not the same, or only on one side."""
    names = {path.relative_to(base) for base in (fresh, STUBS) for path in base.rglob("*.py*")}
    names = {name for name in names if "__pycache__" not in name.parts}
    same, _, _ = filecmp.cmpfiles(fresh, STUBS, map(str, names), shallow=False)
    return sorted({str(name) for name in names} - set(same))


if __name__ == "__main__":
    main()
