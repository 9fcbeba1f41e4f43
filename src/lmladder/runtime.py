"""What the bits of a result depend on besides the code, pinned before NumPy is first imported.

Floating-point sums depend on their order, and that order on the machine: OpenBLAS chooses kernels
by processor model and splits a product by the number of its threads, and NumPy chooses vector
instructions by what the processor offers. Any x86-64 processor with AVX2 can run the same ones, so
those are asked for, and BLAS is left one thread: `kernels.blocks` shares products among threads in
blocks that do not depend on how many there are.

Variables that the user has set win. A program that imports NumPy before lmladder keeps NumPy's own
choices; the results are then as good, but their last bits may differ between machines.
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
# Where joblib and Ray, and Slurm, tell a job how many cores are its own.
SHARES = ("OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK")

# malloc.h: from these sizes on, a block is mapped from the kernel, or given back to it, at once.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
KEPT_BYTES = 1 << 30


def pin() -> None:
    """Pin threads, kernels and vector instructions; without effect once NumPy is imported."""
    if "numpy" in sys.modules:
        return
    for name, value in ONE_BLAS_THREAD.items():
        os.environ.setdefault(name, value)
    if has_avx2():
        for name, value in AVX2_EVERYWHERE.items():
            os.environ.setdefault(name, value)
    _keep_freed_memory()


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


def _keep_freed_memory() -> None:
    """Let malloc reuse big blocks, where it would map and unmap fresh pages at every step."""
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, KEPT_BYTES)
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
