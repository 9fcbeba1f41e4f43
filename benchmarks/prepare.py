"""How fast a text becomes token arrays, and how much memory that takes, against its size.

    python benchmarks/prepare.py [--megabytes 1 4 16 64] [--documents lines]
    python benchmarks/prepare.py --text FILE

The first takes texts of tales, generated once and then repeated, through what the prepare stage
does, in a process of its own: reading, splitting, fitting the tokenizer, encoding, hashing,
writing. Its last lines have the fitted exponents of time and memory, where 1 is expected. The
second measures one file of yours.

`peak_mib` is the most memory that was resident, less what was before the text was opened.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks import measure
from benchmarks.measure import Facts

import yaml

GRAMMAR = measure.FOLDER.parent / "data" / "tales.yaml"
PRESETS = measure.FOLDER.parent / "conf" / "tokenizer"
TALES_BYTES = 1_000_000  # generated; the rest is repetition
EXPECTED = {"seconds": 1.0, "peak_mib": 1.0}


def write_tales(path: Path, n_bytes: int) -> None:
    """Write a text of about `n_bytes`, whole tales, one a line."""
    from lmladder.data.tales import Grammar, generate

    tales = generate(Grammar.load(GRAMMAR), 0, min(n_bytes, TALES_BYTES))
    lines = "".join(f"{tale.text}\n" for tale in tales).encode()
    with path.open("wb") as file:
        for _ in range(max(1, round(n_bytes / len(lines)))):
            file.write(lines)


def prepare(text: Path, documents: str, tokenizer: str) -> Facts:
    """Time and memory of the prepare stage's work on a file, in this process."""
    from lmladder.data import AnyTokenizer, Corpus, SplitSettings, write_prepared
    from lmladder.system.settings import validate

    kinds: Any = AnyTokenizer
    preset = validate(kinds, yaml.safe_load((PRESETS / f"{tokenizer}.yaml").read_text()))
    split = SplitSettings(train=0.9, val=0.05, test=0.05)

    def work(directory: Path) -> None:
        corpus = Corpus.from_file(text, documents)
        write_prepared(directory, corpus, tokenizer=preset, split=split, seed=0, settings={})

    n_bytes = text.stat().st_size
    with TemporaryDirectory() as folder:
        measure.forget_peak()
        base = measure.resident_mib()
        _, seconds = measure.timed(lambda: work(Path(folder)))
        peak = measure.peak_mib()
    return {
        "megabytes": round(n_bytes / 1e6, 3),
        "documents": documents,
        "tokenizer": tokenizer,
        "seconds": round(seconds, 4),
        "megabytes_per_second": round(n_bytes / 1e6 / seconds, 2),
        "peak_mib": measure.above(base, peak),
    }


def grow(megabytes: list[float], documents: str, tokenizer: str) -> tuple[list[Facts], list[Facts]]:
    """A result a size, and the exponents."""
    results: list[Facts] = []
    for size in megabytes:
        with TemporaryDirectory() as folder:
            text = Path(folder) / "tales.txt"
            write_tales(text, int(size * 1e6))
            options = ["--documents", documents, "--tokenizer", tokenizer, "--json"]
            results += measure.in_fresh_process("prepare.py", "--text", text, *options)
    sizes = [each["megabytes"] for each in results]
    exponents: list[Facts] = [
        {
            "exponent of": name,
            "fitted": measure.exponent(sizes, [each[name] for each in results]),
            "expected": expected,
        }
        for name, expected in EXPECTED.items()
    ]
    return results, exponents


def main() -> None:
    parser = measure.parser(__doc__)
    parser.add_argument("--text", type=Path, help="measure this file only")
    parser.add_argument("--megabytes", type=float, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--documents", choices=("lines", "whole"), default="lines")
    parser.add_argument("--tokenizer", choices=("byte", "char", "word", "bpe"), default="char")
    measure.add_json_option(parser)
    arguments = parser.parse_args()
    if arguments.text:
        facts = prepare(arguments.text, arguments.documents, arguments.tokenizer)
        measure.show([facts], as_json=arguments.json)
        return
    for results in grow(arguments.megabytes, arguments.documents, arguments.tokenizer):
        measure.show(results, as_json=arguments.json)


if __name__ == "__main__":
    main()
