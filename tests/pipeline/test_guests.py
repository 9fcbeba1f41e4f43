"""Models of other programs in the pipeline: each has its row and changes no other one."""

import json
import math
import sys
from pathlib import Path

from lmladder.data import Prepared

import pytest

MINE, ARPA = "examples/rungs/my_bigram.py", "examples/rungs/arpa.py"
GUESTS = {
    "words": f"{{kind: arpa, watch: {ARPA}, path: models/words.arpa, space: _, newline: '</s>'}}",
    "mine": f"{{kind: callable, watch: {MINE}, function: next_token, context_length: 1, "
    "parameters: 1}",
}
LMLADDER = Path(sys.executable).with_name("lmladder")
CHECKPOINT = "outputs/rungs/{}/checkpoint.safetensors"


def words_of(checkout):
    """Write an ARPA file in which all words of the text are equally likely; return their number."""
    text = Prepared.open(checkout / "outputs/prepare")
    whole = "".join(text.tokenizer.decode(text.split(name)) for name in ("train", "val", "test"))
    words = ["</s>", *sorted(set(whole.split()))]
    lines = ["\\data\\", f"ngram 1={len(words)}", "\\1-grams:"]
    lines += [f"{-math.log10(len(words)):.7f}\t{word}" for word in words]
    (checkout / "models/words.arpa").write_text("\n".join([*lines, "\\end\\", ""]))
    return len(words)


@pytest.mark.slow
def test_guests_have_rows_in_bits_per_byte_and_change_no_other_row(checkout):
    before = checkout.table()
    count = words_of(checkout)
    checkout.compose(*(f"+rungs.{name}={given}" for name, given in GUESTS.items()))
    ran = checkout.dvc("repro").succeeded().stages_run  # others have a new file in models, too
    assert {"evaluate", "rung@mine", "rung@words"} <= set(ran)
    table = checkout.table()
    audits = {(row["model"], row["split"]): row.pop("audit") for row in table}
    assert {audits[name, "val"] for name in GUESTS} == {"passed"}
    rows = {(row["model"], row["split"]): row for row in table}
    assert [row for row in table if row["model"] not in GUESTS] == before
    for split in ("val", "test"):
        bigram, mine, words = (rows[name, split] for name in ("bigram", "mine", "words"))
        same = ("tokens", "bytes", "nats_per_token", "crop_nats_per_token", "excess_nats_per_token")
        assert [mine[name] for name in same] == [bigram[name] for name in same]
        assert int(words["tokens"]) < int(mine["tokens"])
        assert words["bytes"] == mine["bytes"]
        assert float(words["perplexity"]) == pytest.approx(count, rel=1e-5)
        bits = int(words["tokens"]) * math.log2(count) / int(words["bytes"])
        assert float(words["bits_per_byte"]) == pytest.approx(bits, abs=2e-6)
    bits = [float(row["bits_per_byte"]) for row in checkout.table() if row["split"] == "val"]
    assert bits[:-1] == sorted(bits[:-1], reverse=True)  # and the oracle
    markdown = (checkout / "outputs/evaluate/perplexity.md").read_text()
    assert f"validation text: {rows['bigram', 'val']['tokens'][0]}," in markdown
    assert "| Tokens " in markdown
    assert "Words" not in (checkout / "outputs/evaluate/perplexity_parameters.svg").read_text()
    assert "== words ==" in (checkout / "outputs/evaluate/samples.txt").read_text()

    path = CHECKPOINT.format("words")
    for command in (("sample", path), ("inspect", path), ("verify", path)):
        checkout.lmladder(*command, "--module", ARPA).succeeded()
    options = ("--text", "Once upon a time\n", "--module", ARPA)
    done = checkout.lmladder("score", path, "--json", *options).succeeded()
    score = json.loads(done.stdout)["models"]["words"]
    assert score["bits_per_byte"] == pytest.approx(math.log2(count) * 5 / 17, rel=1e-6)
    mine = ("score", CHECKPOINT.format("mine"), "--text", "Once")
    # In a process of its own, as this one has executed the file.
    checkout.run(LMLADDER, *mine).failed_in_one_line(2, "--module", MINE)
    checkout.lmladder(*mine, "--module", MINE).succeeded()

    done = checkout.lmladder("score", path, "--text", "zzz", "--module", ARPA)
    done.failed_in_one_line(2, "unknown word 'zzz'")
    both = "+mixture@mixtures.both=default", "mixtures.both.members=[bigram,words]"
    rungs = (f"+rungs.{name}={given}" for name, given in GUESTS.items())
    checkout.compose(*rungs, *both).succeeded()
    done = checkout.by_hand(
        "mixture", "-cn", "pipeline", "rung=both", "hydra.run.dir=outputs/mixtures/both"
    )
    done.failed_in_one_line(2, "words has tokens of its own")
    with (checkout / "models/words.arpa").open("a") as file:
        file.write("\n")
    checkout.lmladder("inspect", path, "--module", ARPA).failed_in_one_line(2, "has changed since")
    ran = checkout.dvc("repro", "--dry", "rung").succeeded().stages_run
    assert {"rung@mine", "rung@words"} <= set(ran)  # and others that read models/
    (checkout / "models/words.arpa").write_text("\\data\\\n")
    done = checkout.by_hand(
        "rung", "-cn", "pipeline", "rung=words", "hydra.run.dir=outputs/rungs/words"
    )
    done.failed_in_one_line(2, "words.arpa is not a valid ARPA file, line 1")
