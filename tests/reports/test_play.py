"""The playground: its script computes what Python computes, for all kinds of rungs that it runs."""

import json
import time
from dataclasses import replace
from pathlib import Path

from lmladder.config.composing import composed, validated
from lmladder.data import CharTokenizer, tokenizer_from_json
from lmladder.data.tales import Grammar, generate
from lmladder.models import NeuralLanguageModel, restore_models
from lmladder.models.counts import CountTables
from lmladder.models.mixture import MixtureSettings
from lmladder.models.ngram import CountSettings
from lmladder.models.oracle import arrays_of
from lmladder.reports.play import half, render_play
from lmladder.system.errors import InputError
from lmladder.system.settings import Settings, validate
from tests import browser
from tests.models.examples import (
    CHOICES,
    COUNTS,
    GRU,
    MLP,
    SETTINGS,
    TABLES,
    TRANSFORMER,
    build,
    changed,
    draw,
    kind_of,
)
from tests.models.test_contract import checkpoint
from tests.models.test_mixture import GIVEN, saved

import numpy as np
import pytest

PROJECT = Path(__file__).resolve().parents[2]
PROGRAM = browser.find()
SECONDS = 120
# What the page shows while the first model has not read the last character.
UNFINISHED = """play.models[0].model.tokens.pop(); play.draw();
play.models[0].model.tokens.push(4); find("rungs").innerText"""
READ = "play.models[{}].model.read({}, performance.now() + 1000)"


def neural(settings, vocabulary_size=11, spread=0.3, **changes):
    """The checkpoint of a model with random weights."""
    kind = kind_of(settings)
    weights = build(settings, vocabulary_size, spread=spread).parameters()
    arrays = {name: each.value for name, each in weights.items()}
    return replace(checkpoint(kind, settings, arrays), **changes)


@pytest.fixture(scope="module")
def small():
    """A rung of each kind, and Transformers with each option, of a vocabulary of 11 tokens."""
    variants = [SETTINGS["modern transformer"], SETTINGS["bare transformer"]]
    variants += [changed(TRANSFORMER, **each) for each in CHOICES]
    rungs = {f"{number}": neural(each) for number, each in enumerate(variants)}
    counts = checkpoint("counts", COUNTS, TABLES.arrays())
    return {"counts": counts, "mlp": neural(MLP), "mixture": saved()} | rungs


@pytest.fixture(scope="module")
def ladder():
    """Rungs of the default sizes and the oracle of tales, and 1,000 characters of other tales."""
    grammar = Grammar.load(PROJECT / "data/tales.yaml")
    text = "".join(f"{each.text}\n" for each in generate(grammar, 0, 300_000))
    other = "".join(f"{each.text}\n" for each in generate(grammar, 1, 1000))[:1000]
    tokenizer = CharTokenizer("".join(sorted(set(text))), eos=0)
    size = tokenizer.vocabulary_size
    facts = {"tokenizer": tokenizer.to_json(), "vocabulary_size": size}
    counting = CountSettings(add_k=1.0, kneser_ney_orders=[3, 5, 8])
    tables = CountTables.count(tokenizer.encode(text), size, 8).arrays()
    default, gpt2 = (
        validated(composed(PROJECT / "conf", [f"transformer={name}"]))
        for name in ("default", "gpt2")
    )
    networks = [
        neural(
            changed(small, **{key: getattr(full, key) for key in small.model_dump()}), size, 0.05
        )
        for small, full in (
            (MLP, default.mlp),
            (TRANSFORMER, default.transformer),
            (TRANSFORMER, gpt2.transformer),
        )
    ]
    rungs = {
        "counts": {"kind": "counts", **counting.model_dump()},
        "transformer": {"kind": "transformer", **networks[1].config},
    }
    members = ["kneser_ney_8", "transformer"]
    mixing = {**GIVEN, "members": members, "weights_by": members, "knots": 2}
    arrays = {f"members.counts.{name}": each for name, each in tables.items()}
    arrays |= {f"members.transformer.{name}": each for name, each in networks[1].model.items()}
    for part in ("whole", "for_first_half", "for_second_half"):
        arrays[f"weights.{part}.knots"] = np.array([[0.5, 2.0], [1.0, 3.0]])
        arrays[f"weights.{part}.table"] = np.array([[0.5, 0.5], [0.1, 0.9], [0.7, 0.3], [1, 0]])
    found = [
        checkpoint("oracle", Settings(), arrays_of(grammar.source, tokenizer)),
        replace(checkpoint("mixture", validate(MixtureSettings, mixing), arrays), members=rungs),
        *networks,
        checkpoint("counts", counting, tables),
    ]
    names = ("oracle", "mixture", "mlp", "default", "gpt2", "counts")
    return dict(zip(names, (replace(each, **facts) for each in found), strict=True)), other


def rounded(checkpoint):
    """Return a checkpoint with the weights that the page has, in their own dtypes."""
    arrays = {name: half(each).astype(each.dtype) for name, each in checkpoint.model.items()}
    return replace(checkpoint, model=arrays)


def expected(rung, tokens):
    """Log probabilities after each token by model: of the rounded weights, in float64."""
    found = {}
    for name, model in restore_models(rounded(rung)).items():
        for each in (model, *getattr(model, "members", ())):
            if isinstance(each, NeuralLanguageModel):
                for tensor in each.parameters().values():
                    tensor.value = tensor.value.astype(np.float64)
        decoder = model.decoder()
        found[name] = np.stack([decoder.read(np.array([[token]]))[0] for token in tokens])
    return found


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    with browser.browsing(PROGRAM, tmp_path_factory.mktemp("profile")) as tab:
        yield tab


def wait(tab, condition):
    end = time.monotonic() + SECONDS
    while not tab.ask(condition):
        assert time.monotonic() < end, (condition, tab.problems)
        time.sleep(0.02)


@pytest.fixture
def opened(tab, tmp_path):
    """A function that opens the page of some rungs, and waits until it is ready."""

    def opened(rungs, text="", *, width=1280):
        page, skipped = render_play(rungs, text)
        (tmp_path / "play.html").write_text(page, encoding="utf-8")
        assert skipped == []
        tab.open(tmp_path / "play.html", width=width, dark=False)
        wait(tab, "document.body.classList.contains('ready')")
        tab.ask("playground.then((loaded) => { globalThis.play = loaded; })")
        wait(tab, "globalThis.play !== undefined")
        return tab

    return opened


def assert_equal_to_python(tab, rungs, text):
    tokenizer = tokenizer_from_json(next(iter(rungs.values())).tokenizer)
    tokens = [tokenizer.first, *tokenizer.encode(text).tolist()]
    number = 0
    for rung in rungs.values():
        for name, logs in reversed(expected(rung, tokens).items()):
            wait(tab, READ.format(number, [*tokens[:17], *tokens[:8]]))  # to be replaced
            wait(tab, READ.format(number, tokens))
            shown = tab.ask(f"play.models[{number}].model.logs.map((each) => [...each])")
            np.testing.assert_allclose(shown, logs, rtol=0, atol=1e-5, err_msg=name)
            number += 1
    assert number == tab.ask("play.models.length")
    assert tab.problems == []
    assert [each[:8] for each in tab.requests] == ["file:///"]


needs_browser = pytest.mark.skipif(PROGRAM is None, reason="there is no Chromium or Chrome")


@pytest.mark.browser
@needs_browser
def test_the_script_computes_1000_positions_of_the_default_sizes_as_python_does(opened, ladder):
    rungs, text = ladder
    assert_equal_to_python(opened(rungs), rungs, text)


@pytest.mark.browser
@needs_browser
def test_it_computes_every_option_of_a_transformer_as_python_does(opened, small):
    text = "".join("abcdefghijk"[token] for token in draw("text", 40))
    assert_equal_to_python(opened(small), small, text)


@pytest.mark.browser
@needs_browser
def test_one_can_type_edit_look_at_each_character_and_continue(opened, small):
    chosen = {"transformer": small["0"], "mlp": small["mlp"]}
    tab = opened(chosen, "", width=390)
    tab.ask("document.querySelector('#text').focus()")
    tab.call("Input.insertText", text="abcéde")
    wait(tab, "document.querySelectorAll('#cells span').length == 7")  # and the one after the text
    wait(tab, "play.models.every(({ model }) => model.tokens.length == 6)")
    assert "computing, 83%" in tab.ask(UNFINISHED)
    assert "é" in tab.ask("document.querySelector('#status').textContent")
    assert "after “abcéde”" in tab.ask("document.querySelector('#place').textContent")
    tab.ask("document.querySelector('#cells').focus()")
    tab.press("ArrowLeft")
    assert "Character 6, “e”" in tab.ask("document.querySelector('#place').textContent")
    log = expected(chosen["transformer"], [0, 0, 1, 2, 3])["transformer"][-1, 4]
    cell = tab.ask("document.querySelectorAll('#cells span')[5].title")
    assert float(cell.split(" · ")[1].removesuffix(" bits")) == pytest.approx(
        -log / np.log(2), abs=0.006
    )
    assert tab.ask("document.querySelectorAll('#read span').length") == 5
    tab.ask("document.querySelector('#temperature').value = 0")
    tab.ask("document.querySelector('#rungs button').click()")
    wait(tab, "!play.running")
    tokens = [0, 0, 1, 2, 3, 4]
    while len(tokens) < 306 and (len(tokens) == 6 or tokens[-1] != 0):
        tokens.append(int(expected(chosen["transformer"], tokens)["transformer"][-1].argmax()))
    continued = "abcéde" + "".join("abcdefghijk"[token] for token in tokens[6:])
    assert tab.ask("document.querySelector('#text').value") == continued
    assert tab.ask("document.documentElement.scrollWidth") == 390
    assert tab.problems == []


def test_a_page_says_in_one_line_which_rung_it_cannot_run(small):
    gru = neural(MLP, kind="gru", config=GRU.model_dump(), model={}, name="gru")
    gru = replace(gru, model={k: v.value for k, v in build(GRU).parameters().items()})
    page, skipped = render_play({"a/gru": gru, "b/mlp": small["mlp"]}, "")
    assert skipped == ["a/gru is not on the page, which cannot run the kind gru"]
    assert skipped[0] in page
    with pytest.raises(InputError, match="cannot run the kind gru"):
        render_play({"gru": gru}, "")


def test_text_of_a_user_cannot_become_markup_and_equal_labels_are_told_apart(small):
    hostile = replace(small["mlp"], name="</script><script>alert(1)</script>")
    page, _ = render_play({"a": small["mlp"], "b<i>": small["mlp"], "c": hostile}, "</textarea><b>")
    assert page.count("<script") == page.count("</script>") == 3
    assert "<b>" not in page
    models = json.loads(page.partition('id="models">')[2].partition("</script>")[0])["models"]
    assert [each["label"] for each in models[:2]] == ["MLP", "MLP (b<i>)"]


def test_weights_too_large_for_16_bits_keep_32():
    mlp = neural(MLP)
    large = replace(mlp, model=mlp.model | {"unembedding.bias": np.full(11, 1e5, "f4")})
    kept = rounded(large).model
    assert (kept["unembedding.bias"] == 1e5).all()
    assert 0 < abs(kept["layers.0.weight"] - mlp.model["layers.0.weight"]).max() < 1e-2
