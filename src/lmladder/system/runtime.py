"""What the bits of a result depend on besides the code, pinned before NumPy is first imported.

Floating-point sums depend on their order, and that order on the machine: OpenBLAS chooses kernels
by processor model and splits a product by the number of its threads, and NumPy chooses vector
instructions by what the processor offers. Any x86-64 processor with AVX2 can run the same ones, so
those are asked for, and BLAS is left one thread: `kernels.blocks` shares products among threads in
blocks that do not depend on how many there are.

Variables that the user has set win. Where NumPy was imported before lmladder it has made its own
choice of instructions; the results are then as good, but their last bits may differ between
machines. BLAS is left one thread all the same.
"""

import ctypes
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

ONE_BLAS_THREAD = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
AVX2_EVERYWHERE = {
    "OPENBLAS_CORETYPE": "Haswell",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4,AVX512_ICL,AVX512_SPR",
    "NUMBA_CPU_NAME": "haswell",
    "NUMBA_CPU_FEATURES": "+avx2,+fma,+bmi,+bmi2,+lzcnt,+popcnt,+f16c",
}
# Where joblib and Ray, and Slurm, tell a job how many cores are its own.
SHARES = ("OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK")

# malloc.h: from these sizes on, a block is mapped from the kernel, or given back to it, at once.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
KEPT_BYTES = 1 << 30

too_late: list[str] = []  # names of what could not be pinned any more


def pin() -> None:
    """Pin threads, kernels and vector instructions, as far as they are not chosen yet."""
    _keep_freed_memory()
    if "numpy" not in sys.modules:
        for name, value in ONE_BLAS_THREAD.items():
            os.environ.setdefault(name, value)
    for name, value in AVX2_EVERYWHERE.items() if has_avx2() else ():
        if name in os.environ:
            continue
        if ("numba" if name.startswith("NUMBA") else "numpy") in sys.modules:
            too_late.append(name)
        else:
            os.environ[name] = value
    if too_late:
        print(
            f"warning: too late to set {', '.join(too_late)}: last bits of results may differ "
            "between machines; import lmladder before NumPy and Numba",
            file=sys.stderr,
        )


def limit_blas_threads() -> None:
    """Leave the BLAS that is loaded one thread, or as many as the user has set."""
    from threadpoolctl import threadpool_limits  # here, as most of what imports lmladder needs none

    counts = [os.environ.get(name, "") for name in ONE_BLAS_THREAD]
    threadpool_limits(max([1, *(int(each) for each in counts if each.isdecimal())]), "blas")


def has_avx2() -> bool:
    """Whether this is a Linux x86-64 processor with AVX2 and FMA."""
    if platform.machine() != "x86_64" or not sys.platform.startswith("linux"):
        return False
    flags = next(
        (line for line in Path("/proc/cpuinfo").read_text().splitlines() if line[:5] == "flags"), ""
    ).split()
    return "avx2" in flags and "fma" in flags


def available_cores() -> int:
    """Cores that this process may run on, or its share of them where a launcher has set one."""
    known = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1
    for name in SHARES:
        share = os.environ.get(name, "").partition(",")[0]  # OpenMP: one for each level of nesting
        if share.isdecimal() and int(share) > 0:
            cores = min(cores, int(share))
    return cores


def memory_limit() -> int:
    """Return how many bytes of memory this process may take at most.

    That is the least of the machine's memory, the limits of its cgroups (as of a container or of a
    job of Slurm) and that of its address space (`ulimit -v`).
    """
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *_cgroup_limits(Path("/"))]
    import resource  # which not every system has

    address_space, _ = resource.getrlimit(resource.RLIMIT_AS)
    if address_space != resource.RLIM_INFINITY:
        limits.append(address_space)
    return min(limits)


def _cgroup_limits(root: Path) -> Iterator[int]:
    """Bytes that the cgroups of this process and those around them may take; version 1 or 2."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            top, name = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            top, name = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        folder = top / path.lstrip("/")
        for each in (folder, *folder.parents):
            with suppress(OSError, ValueError):  # it is not there, or "max"
                yield int((each / name).read_text())
            if each == top:
                break


def _keep_freed_memory() -> None:
    """Let malloc reuse big blocks, where it would map and unmap fresh pages at every step."""
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, KEPT_BYTES)
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
