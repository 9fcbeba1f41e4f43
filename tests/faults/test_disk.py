"""A disk that is full or read-only: one line, nothing half-written, and later the same bytes."""

import ast
import ctypes
import io
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

from lmladder.data import Prepared
from lmladder.system.errors import InputError, RunError
from lmladder.system.files import SIDE_SUFFIX, atomic_write
from lmladder.training import UNFINISHED, UNFINISHED_BEST, train
from lmladder.training.checkpoint import Checkpoint
from tests.faults.crash_loop import ROOT, SETTINGS, finish, stage
from tests.faults.test_bits import load_prepared, prepared

import pytest
from tests.test_training import make_run

PAGE = 4096  # tmpfs gives space in these
SMALLEST = 1  # pages; 0 would mean no limit
CAP_DAC_OVERRIDE, PR_CAPBSET_DROP = 1, 24  # linux/capability.h, linux/prctl.h
RUN_SECONDS = 120


class Disk:
    """A small file system of its own, in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        self._mount(f"size={PAGE}")

    def remount(self, options: str) -> None:
        self._mount(f"remount,{options}")

    def _mount(self, options: str) -> None:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.path)]
        subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    try:
        made = Disk(tmp_path / "disk")
    except (subprocess.CalledProcessError, FileNotFoundError):
        pytest.skip("only root may mount a file system")
    yield made
    made.remount("rw")
    subprocess.run(["umount", str(made.path)], check=True)


def refused(action: Callable[[Path], object], folder: Path, why: str) -> bool:
    """Whether it failed, in one line that names a file of the folder and tells why."""
    try:
        action(folder)
    except RunError as error:
        told = str(error)
    else:
        return False
    assert "\n" not in told
    assert str(folder) in told
    assert told.endswith(why)
    return True


def train_in(folder: Path) -> None:
    train(make_run(folder))


def results(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def assert_whole(folder: Path, expected: dict[str, bytes]) -> None:
    """No side file; whatever has a final name is what it should be, or a checkpoint on the way."""
    for name, content in results(folder).items():
        assert not name.endswith(SIDE_SUFFIX)
        if name in (UNFINISHED, UNFINISHED_BEST):
            Checkpoint.load(folder / name)
        else:
            assert content == expected[name]


def test_training_on_a_full_disk_goes_on_when_there_is_room(disk: Disk, tmp_path: Path) -> None:
    train_in(tmp_path / "whole")
    expected = results(tmp_path / "whole")
    pages, failures = SMALLEST, 0
    while True:  # each time the disk is full at another file
        folder = disk.path / f"{pages}"
        failed = refused(train_in, folder, "No space left on device")
        assert_whole(folder, expected)
        if not failed:
            break
        failures += 1
        disk.remount("size=10m")
        train_in(folder)
        assert results(folder) == expected
        shutil.rmtree(folder)
        pages += 1
        disk.remount(f"size={pages * PAGE}")
    assert failures > len(expected)


def test_preparing_on_a_full_disk_leaves_no_folder_that_could_be_used(
    disk: Disk, tmp_path: Path
) -> None:
    prepared(tmp_path / "whole")
    expected = results(tmp_path / "whole")
    for pages in range(SMALLEST, 99):
        disk.remount(f"size={pages * PAGE}")
        folder = disk.path / f"{pages}"
        if not refused(prepared, folder, "No space left on device"):
            break
        with pytest.raises(InputError, match="dvc repro prepare"):
            Prepared.open(folder)
        assert_whole(folder, expected)
        disk.remount("size=10m")
        prepared(folder)
        assert results(folder) == expected
        shutil.rmtree(folder)
    assert pages >= len(expected)
    load_prepared(folder)


def test_a_disk_that_fills_up_leaves_the_older_file(disk: Disk) -> None:
    path = disk.path / "metrics.json"
    disk.remount(f"size={2 * PAGE}")
    atomic_write(path, b"old")
    assert refused(lambda _: atomic_write(path, b"n" * 2 * PAGE), path, "No space left on device")
    assert results(disk.path) == {"metrics.json": b"old"}


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """No file may become longer: a full disk for those who may not mount one."""
    _, hard = limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("action", [train_in, prepared])
def test_a_file_that_cannot_grow_is_told_and_nothing_of_it_is_left(
    action: Callable[[Path], None], tmp_path: Path
) -> None:
    action(tmp_path / "whole")
    expected = results(tmp_path / "whole")
    limits = sorted({len(each) - 1 for each in expected.values()})
    with redirect_stdout(io.StringIO()):  # so that no file of pytest's is concerned
        for limit in limits:
            folder = tmp_path / f"{limit}"
            with files_up_to(limit):
                assert refused(action, folder, "File too large")
            assert_whole(folder, expected)
            action(folder)
            assert results(folder) == expected


def test_a_read_only_disk_is_told_and_stays_as_it_is(disk: Disk) -> None:
    disk.remount("size=10m")
    folder = disk.path / "run"
    train_in(folder)
    before = results(folder)
    for name in ("checkpoint.safetensors", "best.safetensors"):
        (folder / name).unlink()  # so that there is something to write
    disk.remount("ro")
    assert refused(train_in, folder, "Read-only file system")
    assert refused(prepared, folder, "Read-only file system")
    disk.remount("rw")
    train_in(folder)
    assert results(folder) == before


# --- The stages, as people run them ---------------------------------------------------------------


@pytest.fixture(scope="module")
def prepared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cwd = tmp_path_factory.mktemp("stages")
    finish(stage("prepare", Path("outputs/prepare"), cwd))
    return cwd


def without_the_powers_of_root() -> None:
    """Root, but for the right to write where nobody may."""
    ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0)


def failed(folder: Path, cwd: Path, **how: Callable[[], None]) -> str:
    """The one line with which the MLP stage fails, with exit status 1."""
    done = subprocess.run(
        [sys.executable, ROOT / "stages/mlp.py", *SETTINGS, f"hydra.run.dir={folder}"],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        **how,
    )
    assert done.returncode == 1, done.stderr
    (line,) = done.stderr.splitlines()
    return line


@pytest.mark.parametrize("name", ["there", "below/new"])
def test_a_stage_in_a_read_only_folder_fails_in_one_line(name: str, prepared_folder: Path) -> None:
    closed = prepared_folder / name.split("/")[0]
    closed.mkdir()
    closed.chmod(0o555)
    try:
        line = failed(
            prepared_folder / name, prepared_folder, preexec_fn=without_the_powers_of_root
        )
        assert line.startswith(f"error: cannot write {prepared_folder / name}")
        assert line.endswith(": Permission denied")
        assert list(closed.iterdir()) == []
    finally:
        closed.chmod(0o755)


def test_a_stage_on_a_full_disk_fails_in_one_line(disk: Disk, prepared_folder: Path) -> None:
    disk.remount("size=120k")  # enough for Hydra's files, too little for two checkpoints
    line = failed(disk.path / "mlp", prepared_folder)
    where = os.path.relpath(disk.path / "mlp", prepared_folder)
    assert line.startswith(f"error: cannot write {where}/")
    assert line.endswith(": No space left on device")
    assert not list(disk.path.rglob(f"*{SIDE_SUFFIX}"))
    assert not list(disk.path.rglob("checkpoint.safetensors"))


def test_no_room_for_the_settings_of_a_run_is_told_and_leaves_no_part_of_them(
    disk: Disk, prepared_folder: Path
) -> None:
    disk.remount(f"size={2 * PAGE}")
    line = failed(disk.path / "mlp", prepared_folder)
    where = os.path.relpath(disk.path / "mlp", prepared_folder)
    assert line.startswith(f"error: cannot write {where}/.hydra/")
    assert line.endswith(".yaml: No space left on device")
    assert all(path.stat().st_size for path in disk.path.rglob("*.yaml"))


# --- Whoever writes -------------------------------------------------------------------------------

# Beside these, nobody opens a file to write: the lock has no content that counts, and pooch gives a
# download a name of its own until its sha256 is right.
WRITERS = {"atomic.py": ["open"], "locking.py": ["os.open"]}


def writing(source: str) -> Iterator[str]:
    """Calls that open a file to write in it, or write one by its path."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name.endswith((".write_text", ".write_bytes", ".tofile", "np.save", "json.dump")):
                yield name
            given = [*node.args, *(each.value for each in node.keywords)]
            modes = [each.value for each in given if isinstance(each, ast.Constant)]
            if name.rpartition(".")[2] == "open" and any(
                isinstance(mode, str) and set(mode) & set("wax+") and len(mode) < 4
                for mode in modes
            ):
                yield name
            if name == "os.open" and "O_CREAT" in ast.unparse(node):
                yield name


def test_whatever_is_written_is_written_beside_its_place_first() -> None:
    source = ROOT / "src/lmladder"
    found = {
        path.relative_to(source).as_posix(): calls
        for path in sorted(source.rglob("*.py"))
        if (calls := list(writing(path.read_text())))
    }
    assert found == WRITERS
    for path in (ROOT / "stages").glob("*.py"):
        assert not list(writing(path.read_text())), path
