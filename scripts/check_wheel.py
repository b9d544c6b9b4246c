"""Build the wheel into `dist/` and use it from an environment and a directory of its own.

Run by `make build`. Nothing of this repository is importable there: what is missing in the wheel
is missing in the check. Installing the locked requirements needs the network.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements" / "runtime.txt"
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
FACTS = """
import importlib.metadata as metadata, importlib.resources, json, unitscope
package = importlib.resources.files("unitscope")
needed = ("py.typed", "data/squeezenet1_1.onnx", "data/squeezenet1_1.toml")
print(json.dumps({
    "location": unitscope.__file__,
    "version": metadata.version("unitscope"),
    "licences": [file.name for file in metadata.files("unitscope") if "licenses" in file.parts],
    "missing": [name for name in needed if not (package / name).is_file()],
}))
"""


def main() -> None:
    """Build, install elsewhere, use."""
    wheel = build()
    with tempfile.TemporaryDirectory() as name:
        elsewhere = Path(name)
        scripts = install(wheel, elsewhere / "venv")
        check_facts(wheel, scripts, elsewhere)
        check_command_line(scripts, elsewhere)
    print(f"{wheel.name} works where it is installed")


def build() -> Path:
    """The wheel, alone in `dist/`."""
    for old in (ROOT / "dist").glob("*.whl"):
        old.unlink()
    run([sys.executable, "-m", "build", "--wheel", "--no-isolation", str(ROOT)], ROOT)
    (wheel,) = (ROOT / "dist").glob("*.whl")
    return wheel


def install(wheel: Path, target: Path) -> Path:
    """The directory of programs of a new environment with the locked requirements and the wheel."""
    venv.create(target, with_pip=True)
    scripts = target / ("Scripts" if os.name == "nt" else "bin")
    pip = [str(scripts / "python"), "-m", "pip", "install", "--quiet"]
    run([*pip, "--require-hashes", "-r", str(LOCK)], target)
    run([*pip, "--no-deps", str(wheel)], target)
    return scripts


def check_facts(wheel: Path, scripts: Path, directory: Path) -> None:
    """The package comes from the wheel, with its types, its model and its licences."""
    facts = json.loads(run([str(scripts / "python"), "-c", FACTS], directory))
    expect(ROOT not in Path(facts["location"]).parents, f"imported from {facts['location']}")
    expect(sorted(facts["licences"]) == ["LICENSE", "NOTICE"], f"licences: {facts['licences']}")
    expect(not facts["missing"], f"not in the wheel: {facts['missing']}")
    expect(f"-{facts['version']}-" in wheel.name, f"version: {facts['version']}")


def check_command_line(scripts: Path, directory: Path) -> None:
    """The program explains itself and makes a picture."""
    program = str(scripts / "unitscope")
    expect("maximize" in run([program, "--help"], directory), "--help does not name maximize")
    wanted = ["--unit", "zebra", "--steps", "8", "--seed", "0", "--out", "z.png", "--json"]
    answer = json.loads(run([program, "maximize", *wanted], directory))
    picture = (directory / "z.png").read_bytes()
    expect(picture.startswith(PNG_SIGNATURE), "z.png is no PNG")
    expect(answer["metrics"]["label"] == "zebra", f"label: {answer['metrics']['label']}")


def expect(holds: bool, otherwise: str) -> None:
    """Stop with a sentence unless `holds`."""
    if not holds:
        sys.exit(f"wheel check failed: {otherwise}")


def run(command: list[str], directory: Path) -> str:
    """What a command prints; it must succeed, and the repository must not leak into it."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=directory, env=environment, stdout=subprocess.PIPE, text=True
    )
    expect(done.returncode == 0, f"status {done.returncode} from {' '.join(command)}")
    return done.stdout


if __name__ == "__main__":
    main()
