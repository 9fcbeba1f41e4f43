"""A disk that is full or read-only: one line, nothing half-written, and later the same bytes."""

import ctypes
import io
import os
import re
import resource
import shutil
import subprocess
import sys
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

from lmladder.data import Prepared
from lmladder.system.errors import InputError, RunError
from lmladder.system.files import SIDE_SUFFIX
from lmladder.training import UNFINISHED, UNFINISHED_BEST
from lmladder.training.checkpoint import Checkpoint
from tests.faults.crash_loop import ROOT, SETTINGS, run_stage
from tests.faults.examples import prepare_in, train_in

import pytest

PAGE = 4096  # in which tmpfs allocates space
CAP_DAC_OVERRIDE, PR_CAPBSET_DROP = 1, 24  # linux/capability.h, linux/prctl.h
ACTIONS = pytest.mark.parametrize("action", [train_in, prepare_in])


class Disk:
    """A small file system in memory."""

    def __init__(self, path):
        self.path = path
        path.mkdir()
        self.mount(f"size={PAGE}")

    def mount(self, options):
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.path)]
        subprocess.run(command, check=True, capture_output=True)

    def resize(self, size):
        self.mount(f"remount,size={size}")


@pytest.fixture
def disk(tmp_path):
    try:
        made = Disk(tmp_path / "disk")
    except (subprocess.CalledProcessError, FileNotFoundError):
        pytest.skip("only root may mount a file system")
    yield made
    made.mount("remount,rw")
    subprocess.run(["umount", str(made.path)], check=True)


def fails(action, folder, reason):
    """Return whether the action fails; assert that its one line names a file and the reason."""
    try:
        action(folder)
    except RunError as error:
        message = str(error)
    else:
        return False
    assert "\n" not in message
    assert str(folder) in message
    assert message.endswith(reason)
    return True


def results(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def assert_whole(folder, expected):
    """Assert that each file is whole: a result, or a checkpoint of an unfinished run."""
    for name, content in results(folder).items():
        if name in (UNFINISHED, UNFINISHED_BEST):
            Checkpoint.load(folder / name)
        else:
            assert content == expected[name]


@ACTIONS
def test_what_failed_on_a_full_disk_leaves_whole_files_and_ends_well_later(action, disk, tmp_path):
    action(tmp_path / "whole")
    expected = results(tmp_path / "whole")
    for pages in range(1, 99):  # each time the disk is full at another file
        disk.resize(pages * PAGE)
        folder = disk.path / f"{pages}"
        if not fails(action, folder, "No space left on device"):
            break
        assert_whole(folder, expected)
        if action is prepare_in:
            with pytest.raises(InputError, match="dvc repro prepare"):
                Prepared.open(folder)
        disk.resize("10m")
        action(folder)
        assert results(folder) == expected
        shutil.rmtree(folder)
    assert len(expected) <= pages < 98


@contextmanager
def files_up_to(size):
    """Allow no file to become longer: a full disk for those who may not mount one."""
    _, hard = limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        with redirect_stdout(io.StringIO()):  # so that no file of pytest's is concerned
            yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@ACTIONS
def test_a_file_that_cannot_grow_is_named_and_no_part_of_it_is_left(action, tmp_path):
    action(tmp_path / "whole")
    expected = results(tmp_path / "whole")
    folder = tmp_path / "run"
    for limit in sorted({len(each) - 1 for each in expected.values()}):
        with files_up_to(limit):
            assert fails(action, folder, "File too large")
        assert_whole(folder, expected)
    action(folder)
    assert results(folder) == expected


def test_a_read_only_disk_is_reported_and_stays_as_it_is(disk):
    disk.resize("10m")
    folder = disk.path / "run"
    train_in(folder)
    before = results(folder)
    for name in ("checkpoint.safetensors", "best.safetensors"):
        (folder / name).unlink()  # so that there is something to write
    disk.mount("remount,ro")
    assert fails(train_in, folder, "Read-only file system")
    assert fails(prepare_in, folder, "Read-only file system")
    disk.mount("remount,rw")
    train_in(folder)
    assert results(folder) == before


# --- The stages -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ladder(tmp_path_factory):
    """A folder with a prepared text."""
    cwd = tmp_path_factory.mktemp("ladder")
    run_stage("prepare", "outputs/prepare", cwd)
    return cwd


def drop_privileges():
    """Take from root the right to write where nobody may."""
    ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0)


def failure(folder, cwd):
    """Return the one line with which the MLP stage fails, with exit status 1."""
    done = subprocess.run(
        [sys.executable, ROOT / "stages/mlp.py", *SETTINGS, f"hydra.run.dir={folder}"],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=drop_privileges,
    )
    assert done.returncode == 1, done.stderr
    (line,) = done.stderr.splitlines()
    return line


@pytest.mark.parametrize("name", ["existing", "parent/new"])
def test_a_stage_in_a_read_only_folder_fails_in_one_line(name, ladder):
    closed = ladder / Path(name).parts[0]
    closed.mkdir(mode=0o555)
    line = failure(ladder / name, ladder)
    assert line.startswith(f"error: cannot write {ladder / name}")
    assert line.endswith(": Permission denied")
    assert list(closed.iterdir()) == []
    closed.chmod(0o755)


@pytest.mark.parametrize(
    ("size", "file"),
    [(2 * PAGE, r"\.hydra/\w+\.yaml"), (30 * PAGE, r"unfinished[\w-]*\.safetensors")],
    ids=["settings", "checkpoints"],
)
def test_a_stage_on_a_full_disk_fails_in_one_line(size, file, disk, ladder):
    disk.resize(size)
    line = failure(disk.path / "mlp", ladder)
    where = os.path.relpath(disk.path / "mlp", ladder)
    reason = "No space left on device"
    assert re.fullmatch(rf"error: cannot write {re.escape(where)}/{file}: {reason}", line)
    assert all(path.stat().st_size for path in disk.path.rglob("*.yaml"))
    assert not list(disk.path.rglob(f"*{SIDE_SUFFIX}"))
    assert not list(disk.path.rglob("checkpoint.safetensors"))


def test_only_the_modules_of_atomic_writing_and_locks_open_files_to_write():
    opens = re.compile(
        r"""\.write_(text|bytes)\(|\.tofile\(|np\.save|json\.dump\(|O_CREAT
        |\bopen\([^()]*["'][rb]?[wax+]""",
        re.VERBOSE,
    )
    sources = [*(ROOT / "src").rglob("*.py"), *(ROOT / "stages").glob("*.py")]
    found = {path.name for path in sources if opens.search(path.read_text())}
    assert found == {"files.py", "locks.py"}
