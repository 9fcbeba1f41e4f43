"""Pin what the bits of a result depend on besides the code, before NumPy is first imported.

A floating-point sum depends on the order of its terms, and this order on the machine: OpenBLAS
chooses kernels by processor model and splits a product by its number of threads, and NumPy chooses
vector instructions by what the processor supports. Every x86-64 processor with AVX2 can run the
same kernels and instructions, so these are selected, and BLAS gets one thread: `kernels.blocks`
divides products among threads in blocks that do not depend on the number of threads.

Variables set by the user take precedence. If NumPy was imported before lmladder, it has already
chosen its instructions: the results are equally accurate, but their last bits may differ between
machines. BLAS still gets one thread.
"""

import ctypes
import os
import platform
import sys
from pathlib import Path

ONE_BLAS_THREAD = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
AVX2_EVERYWHERE = {
    "OPENBLAS_CORETYPE": "Haswell",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4,AVX512_ICL,AVX512_SPR",
    "NUMBA_CPU_NAME": "haswell",
    "NUMBA_CPU_FEATURES": "+avx2,+fma,+bmi,+bmi2,+lzcnt,+popcnt,+f16c",
}
# The number of cores of a job: set by joblib and Ray, and by Slurm.
SHARES = ("OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK")

# malloc.h: memory from these sizes on is mapped from the kernel and returned to it immediately.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
MALLOC_THRESHOLD = 1 << 30
CPUINFO = Path("/proc/cpuinfo")

not_pinned: list[str] = []  # the variables that could no longer be pinned


def pin() -> None:
    """Pin threads, kernels and vector instructions that are not chosen yet."""
    _keep_freed_memory()
    if "numpy" not in sys.modules:
        for name, value in ONE_BLAS_THREAD.items():
            os.environ.setdefault(name, value)
    for name, value in AVX2_EVERYWHERE.items() if has_avx2() else ():
        if name in os.environ:
            continue
        if ("numba" if name.startswith("NUMBA") else "numpy") in sys.modules:
            not_pinned.append(name)
        else:
            os.environ[name] = value
    if not_pinned:
        print(
            f"warning: too late to set {', '.join(not_pinned)}: last bits of results may differ "
            "between machines; import lmladder before NumPy and Numba",
            file=sys.stderr,
        )


def limit_blas_threads() -> None:
    """Limit the loaded BLAS to one thread, or to the number set by the user."""
    from threadpoolctl import threadpool_limits  # imported here: most commands need no BLAS

    counts = [os.environ.get(name, "") for name in ONE_BLAS_THREAD]
    threadpool_limits(max([1, *(int(each) for each in counts if each.isdecimal())]), "blas")


def processor_facts() -> dict[str, str]:
    """Return what Linux reports of the first processor, by name; empty on other systems."""
    try:
        first = CPUINFO.read_text().partition("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def has_avx2() -> bool:
    """Return whether this is a Linux x86-64 processor with AVX2 and FMA."""
    if platform.machine() != "x86_64" or not sys.platform.startswith("linux"):
        return False
    return {"avx2", "fma"} <= set(processor_facts().get("flags", "").split())


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
