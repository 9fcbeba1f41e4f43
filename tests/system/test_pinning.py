"""Whatever is run pins its arithmetic: lmladder is imported before NumPy, by any door."""

import os
import subprocess
import sys
from pathlib import Path

from lmladder.system import runtime

import pytest

ROOT = Path(__file__).parent.parent
SCRIPTS = sorted([*ROOT.glob("stages/*.py"), *ROOT.glob("benchmarks/*.py")])
PINS = runtime.ONE_BLAS_THREAD | (runtime.AVX2_EVERYWHERE if runtime.has_avx2() else {})


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_script_pins_the_arithmetic_before_it_imports_numpy(script: Path) -> None:
    code = (
        "import os, runpy, sys; runpy.run_path(sys.argv[1]); "
        "print(dict(os.environ) if 'numpy' in sys.modules else 'no NumPy')"
    )
    environment = {name: value for name, value in os.environ.items() if name not in PINS}
    done = subprocess.run(
        [sys.executable, "-c", code, script],
        env=environment | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
        capture_output=True,
        check=True,
        encoding="utf-8",
    )
    assert done.stdout == "no NumPy\n" or all(
        f"'{name}': '{value}'" in done.stdout for name, value in PINS.items()
    )
