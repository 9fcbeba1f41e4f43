"""Pin what the bits of a result depend on besides the code, before NumPy is first imported.

The kernels define the order of their operations, so their bits are the same on every machine. NumPy
has other functions for tanh, exponentials, logarithms and powers on processors with AVX-512, so
these instructions are disabled in NumPy.

BLAS gets one thread; the kernels do not use it, and `kernels.blocks` shares their work among
threads.

Variables set by the user take precedence. If NumPy was imported before lmladder, it has already
chosen its instructions: the results are equally accurate, but their last bits may differ between
machines.
"""

import ctypes
import os
import platform
import sys

ONE_BLAS_THREAD = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
WITHOUT_AVX512 = {"NPY_DISABLE_CPU_FEATURES": "X86_V4,AVX512_ICL,AVX512_SPR"}
# The number of cores of a job: set by joblib and Ray, and by Slurm.
SHARES = ("OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK")

# malloc.h: memory from these sizes on is mapped from the kernel and returned to it immediately.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
MALLOC_THRESHOLD = 1 << 30

not_pinned: list[str] = []  # the variables that could no longer be pinned


def pin() -> None:
    """Set the threads of BLAS and the instructions of NumPy, unless the user has."""
    _keep_freed_memory()
    pinned = ONE_BLAS_THREAD | (WITHOUT_AVX512 if platform.machine() == "x86_64" else {})
    if "numpy" not in sys.modules:
        for name, value in pinned.items():
            os.environ.setdefault(name, value)
    not_pinned.extend(name for name in pinned if name not in {*os.environ, *ONE_BLAS_THREAD})
    if not_pinned:
        print(
            f"warning: too late to set {', '.join(not_pinned)}: last bits of results may differ "
            "between machines; import lmladder before NumPy",
            file=sys.stderr,
        )


def limit_blas_threads() -> None:
    """Limit the loaded BLAS to one thread, or to the number set by the user."""
    from threadpoolctl import threadpool_limits  # imported here: most commands need no BLAS

    counts = [os.environ.get(name, "") for name in ONE_BLAS_THREAD]
    threadpool_limits(max([1, *(int(each) for each in counts if each.isdecimal())]), "blas")


def available_cores() -> int:
    """Return the number of cores that this process may use, or its share set by a launcher."""
    known = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1
    for name in SHARES:
        share = os.environ.get(name, "").partition(",")[0]  # OpenMP: a value for each nesting level
        if share.isdecimal() and int(share) > 0:
            cores = min(cores, int(share))
    return cores


def _keep_freed_memory() -> None:
    """Let malloc reuse large blocks instead of mapping and unmapping pages in every step."""
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, MALLOC_THRESHOLD)
        mallopt(_M_TRIM_THRESHOLD, MALLOC_THRESHOLD)
