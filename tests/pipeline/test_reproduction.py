"""The promise: whoever clones this project and runs it has the committed results, byte for byte."""

from lmladder import runtime

import pytest

pytestmark = pytest.mark.slow


@pytest.mark.skipif(not runtime.has_avx2(), reason="other vector instructions round differently")
def test_a_fresh_clone_ends_with_every_committed_byte(clone):
    done = clone.dvc("repro", "--force").succeeded()  # even what is committed and up to date
    assert done.stages_run == ["prepare", "bigram", "mlp", "transformer", "evaluate"]
    assert clone.git("status", "--porcelain") == ""
    assert clone.dvc("repro").succeeded().stages_run == []
