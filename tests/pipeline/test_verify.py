"""`lmladder verify` on what the stages themselves have left."""

import pytest

RUNGS = ("bigram", "mlp", "transformer")


@pytest.mark.parametrize("rung", RUNGS)
def test_what_a_stage_made_comes_again_by_the_same_code(lmladder, rung):
    done = lmladder("verify", f"outputs/{rung}").succeeded()
    (line,) = done.stdout.splitlines()  # neither code nor environment differs
    assert line.startswith(f"outputs/{rung}: bit-identical")


@pytest.mark.slow
def test_a_commit_of_the_pipeline_comes_again_but_for_what_was_tampered_with(checkout):
    table = checkout / "outputs/evaluate/perplexity.csv"
    checkout.git("add", "--all")
    who = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    checkout.git(*who, "commit", "--quiet", "--message", "results")
    done = checkout.lmladder("verify", "--pipeline").succeeded()
    assert done.stdout.splitlines()[-1].startswith("bit-identical: all ")
    table.write_text(table.read_text().replace("0", "1", 1))
    checkout.git(*who, "commit", "--quiet", "--all", "--message", "better results")
    done = checkout.lmladder("verify", "--pipeline")
    assert done.status == 1
    assert "differs    outputs/evaluate/perplexity.csv" in done.stdout
    assert done.stdout.count("differs") == 1
