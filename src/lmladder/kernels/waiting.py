"""Waiting for another thread without going to sleep at once: waking up takes longer than most work.

Compiled, because a thread that waits in Python would hold the global lock.
"""

import platform
from typing import Any

from lmladder.kernels.compiling import compile_kept

from llvmlite import ir
from numba import int64, types
from numba.extending import intrinsic

LOOKS = 3000  # some 100 microseconds


@intrinsic
def _load(typing_context: Any, address: Any) -> Any:
    """The number at an address as it is now, whatever other threads do."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], ir.IntType(64).as_pointer())
        return builder.load_atomic(pointer, "acquire", 8)

    return int64(int64), generate


@intrinsic
def _pause(typing_context: Any) -> Any:
    """Tell the processor that this is a loop that waits."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if platform.machine() == "x86_64":
            kind = ir.FunctionType(ir.VoidType(), [])
            builder.call(builder.module.declare_intrinsic("llvm.x86.sse2.pause", (), kind), [])
        return context.get_dummy_value()

    return types.void(), generate


def _wait_for_change(address, old):
    """Return when the number at `address` is no longer `old`, or after a while."""
    for _ in range(LOOKS):
        if _load(address) != old:
            return
        _pause()


wait_for_change = compile_kept(types.void(int64, int64), _wait_for_change, nogil=True)
