"""Compare the bytes that this machine and an emulated ARM processor write.

    python benchmarks/arm.py [FOLDER] [--runs smoke long]

runs stages of this clone here and with an aarch64 Python under QEMU, and compares the sha256 of
all their outputs but the facts of a machine in .work:

    smoke    experiment=smoke, all stages
    long     200 steps of the default Transformer at width 64 and context 128: prepare, transformer

After one line for each file that differs, the last line of a run has their number. The exit status
is 1 if there are any, and 2 if a stage or a download fails.

It needs Debian 12 on x86-64 and its Python 3.11. The first time, FOLDER (default: build/arm) gets
QEMU and Python from packages that apt downloads, and wheels of the versions in constraints.txt;
nothing is installed. Emulation takes minutes, most of all the compilation of kernels, which FOLDER
keeps. QEMU_CPU selects the emulated processor, neoverse-n1 by default.
"""

import os
import platform
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks import measure
from benchmarks.measure import UnavailableError

ROOT = measure.FOLDER.parent
CONSTRAINTS = ROOT / "constraints.txt"
PYTHON = "{}.{}".format(*sys.version_info)
PLATFORMS = [f"manylinux_2_{glibc}_aarch64" for glibc in range(17, 37)]  # Debian 12 has glibc 2.36
LONG = "transformer.d_model=64 transformer.context_length=128 transformer.training.steps=200"
OFTEN = "transformer.training.evaluate_every=20 transformer.training.evaluate_tokens=2048"
RUNS = {  # overrides of the configuration, and stages
    "smoke": ("experiment=smoke", "prepare bigram mlp transformer evaluate"),
    "long": (f"{LONG} {OFTEN}", "prepare transformer"),
}


class Machine:
    """How Python is started: a command before its arguments, and environment variables."""

    def __init__(self, name: str, command: Sequence[object], **variables: str) -> None:
        self.name, self.command = name, [*map(str, command)]
        paths = os.pathsep.join(filter(None, [str(ROOT / "src"), variables.pop("PYTHONPATH", "")]))
        self.environment = {**os.environ, "LC_ALL": "C.UTF-8", **variables, "PYTHONPATH": paths}

    def python(self, *arguments: object, folder: Path) -> None:
        """Run Python in a folder, without what it prints to standard output."""
        call([*self.command, *arguments], cwd=folder, env=self.environment)

    def outputs(self, folder: Path, overrides: Sequence[str], stages: Sequence[str]) -> Path:
        """Run stages in a new folder, with a line for each; return the folder of their outputs."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in ("data", "models"):
            (folder / name).symlink_to(ROOT / name)
        here().python(ROOT / "stages" / "compose.py", *overrides, folder=folder)
        for stage in stages:
            start = time.perf_counter()
            self.python(ROOT / "stages" / f"{stage}.py", "-cn", "pipeline", folder=folder)
            print(f"{self.name}: {stage} {time.perf_counter() - start:.0f} s", flush=True)
        return folder / "outputs"


def here() -> Machine:
    """Return this machine."""
    return Machine(platform.machine(), [sys.executable])


def emulated(folder: Path) -> Machine:
    """Return the emulated machine in a folder, which is set up if it is not there.

    Raises
    ------
    UnavailableError
        If this is not Debian on x86-64, or a download fails.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = [each for each in project["dependencies"] if not each.startswith("dvc")]
    contents = "\n".join([PYTHON, *needed, CONSTRAINTS.read_text()])
    system = folder / "system"
    host, root, site = (system / name for name in ("host", "root", "site"))
    ready = system / "ready"  # written last
    if not ready.exists() or ready.read_text() != contents:
        if platform.machine() != "x86_64" or shutil.which("apt-get") is None:
            raise UnavailableError("this needs Debian on x86-64")
        shutil.rmtree(system, ignore_errors=True)
        for package in debian_packages(system / "apt"):
            call(["dpkg", "-x", package, host if "qemu" in package.name else root])
        install_wheels(needed, system / "wheels", site)
        ready.write_text(contents)
    return Machine(
        "aarch64",
        ["nice", "-n", 5, host / "usr/bin/qemu-aarch64-static", root / f"usr/bin/python{PYTHON}"],
        PYTHONPATH=str(site),
        PYTHONNOUSERSITE="1",
        PYTHONDONTWRITEBYTECODE="",
        PYTHONPYCACHEPREFIX=str(folder / "bytecode"),
        QEMU_LD_PREFIX=str(root),
        QEMU_CPU=os.environ.get("QEMU_CPU", "neoverse-n1"),
        NUMBA_CACHE_DIR=str(folder / "numba"),
        OMP_NUM_THREADS="1",
    )


def debian_packages(folder: Path) -> list[Path]:
    """Download QEMU and an aarch64 Python, with all that they depend on, by lists of their own."""
    for name in ("lists", "archives"):
        (folder / name / "partial").mkdir(parents=True)
    (folder / "status").touch()  # nothing is installed, so all dependencies are downloaded
    options = {
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64,amd64",
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "",  # who could not write here
        "Debug::NoLocking": "true",
        "Dir::Cache": folder,
        "Dir::State::lists": folder / "lists",
        "Dir::State::status": folder / "status",
    }
    apt = ["apt-get", "-qq", *(f"-o{name}={value}" for name, value in options.items())]
    packages = [f"python{PYTHON}:arm64", "libstdc++6:arm64", "qemu-user-static:amd64"]
    call([*apt, "update"])
    call([*apt, "--yes", "--download-only", "install", *packages])
    return sorted(folder.glob("archives/*.deb"))


def install_wheels(needed: Sequence[str], wheels: Path, site: Path) -> None:
    """Install packages and their dependencies, as aarch64 wheels, into a folder."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "--quiet"]
    versions = ["--constraint", CONSTRAINTS]
    without_wheel = ["--no-deps", "antlr4-python3-runtime"]  # of Hydra
    call([*pip, "wheel", *versions, "--wheel-dir", wheels, *without_wheel])
    target = ["--target", site, "--python-version", PYTHON, "--implementation", "cp"]
    target += ["--only-binary", ":all:", *(f"--platform={each}" for each in PLATFORMS)]
    call([*pip, "install", *versions, "--no-compile", "--find-links", wheels, *target, *needed])


def call(command: Sequence[object], **options: Any) -> None:
    """Run a command; raise UnavailableError if it fails, after what it printed about that."""
    parts = [*map(str, command)]
    status = subprocess.call(parts, stdout=subprocess.DEVNULL, **options)
    if status:
        raise UnavailableError(f"exit status {status} of: {' '.join(parts)}")


def digests(folder: Path) -> dict[str, str]:
    """Return the sha256 of each file by its path, without facts of a machine."""
    files = [path for path in folder.rglob("*") if path.is_file() and ".work" not in path.parts]
    return {str(each.relative_to(folder)): sha256(each.read_bytes()).hexdigest() for each in files}


def main() -> None:
    parser = measure.parser(__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT / "build" / "arm")
    parser.add_argument("--runs", nargs="+", choices=RUNS, default=list(RUNS))
    given = parser.parse_args()
    folder = given.folder.resolve()
    machines = [here(), emulated(folder)]
    exit_status = 0
    for run in given.runs:
        print(f"{run}: {RUNS[run][0]}")
        overrides, stages = (each.split() for each in RUNS[run])
        places = [each.outputs(folder / run / each.name, overrides, stages) for each in machines]
        ours, theirs = map(digests, places)
        names = sorted(ours.keys() | theirs.keys())
        different = [name for name in names if ours.get(name) != theirs.get(name)]
        exit_status |= bool(different)
        for name in different:
            print(f"{run}: {name} differs")
        print(f"{run}: {len(different)} of {len(names)} files differ", flush=True)
    sys.exit(exit_status)


if __name__ == "__main__":
    measure.run(main)
