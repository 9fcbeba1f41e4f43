# make repro: train every rung and print the table.  make test: run the tests.
.DEFAULT_GOAL := repro
.PHONY: lock repro test test-slow test-peers test-pages test-browser lint smoke bench docs site clean
.PHONY: results tales shakespeare shakespeare_90

PYTHON ?= python3
BIN := .venv/bin
# dvc and the stages it starts find this environment first.
RUN := PATH="$(CURDIR)/$(BIN):$$PATH"
# Also for the clones in build/: DVC unpickles files of its site cache, which is public by default.
export DVC_SITE_CACHE_DIR ?= $(CURDIR)/.dvc/site_cache
# pip prints nothing for minutes, so this prints the size of .venv while a command runs. Modules are
# compiled when they are first imported, not all at once; without a cache, at every start again.
unexport PYTHONDONTWRITEBYTECODE
SHOW := (while sleep 4 > /dev/null; do echo "installing: $$(du -sm .venv | cut -f1) MB"; done) & \
	trap "kill $$!" EXIT;
INSTALL := $(SHOW) $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check \
	-c constraints.txt
# Where uv is installed, it installs the same versions, and checks their hashes in uv.lock.
SYNC := command -v uv > /dev/null && uv sync --quiet --inexact --locked --python $(BIN)/python

.venv/.ready: pyproject.toml constraints.txt uv.lock
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed")'
	@$(SHOW) test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(SYNC) --extra pipeline || { $(INSTALL) -e '.[pipeline]'; }
	mkdir -p -m 700 .dvc/site_cache
	$(BIN)/dvc config --local core.site_cache_dir "$(CURDIR)/.dvc/site_cache"
	touch $@

.venv/.ready-test: .venv/.ready
	@$(SYNC) --extra pipeline --extra test --extra sweep || { $(INSTALL) -e '.[pipeline,test,sweep]'; }
	touch $@

# The versions, after a change of the dependencies; needs uv. Peers are installed at their newest.
lock:
	uv lock
	echo "# Exported from uv.lock: make lock" > constraints.txt
	uv export --quiet --locked --all-extras --no-extra bench --no-extra interop --no-hashes \
		--no-annotate --no-header --no-emit-project >> constraints.txt

repro: .venv/.ready
	$(RUN) lmladder run

test: .venv/.ready-test
	$(RUN) pytest -q -n auto

test-slow: .venv/.ready-test
	$(RUN) pytest -q -n auto -m slow

# Against PyTorch, transformers, JAX and NLTK, in an environment of their own; also what is slow.
test-peers:
	test -x .venv-peers/bin/python || $(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet -c constraints.txt -e '.[pipeline,test,sweep,bench,interop]'
	PATH="$(CURDIR)/.venv-peers/bin:$$PATH" pytest -q -rs -m "" tests/interop tests/benchmarks

# The commands of README.md, the tutorial and the help texts; the notebook; every committed byte from
# a fresh clone.
test-pages: .venv/.ready-test
	$(RUN) pytest -q -n auto -m pages --durations=25

# The documentation as pages in build/site, with references of commands and settings.
site:
	test -x .venv-site/bin/python || $(PYTHON) -m venv .venv-site
	.venv-site/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[pipeline,site]'
	PATH="$(CURDIR)/.venv-site/bin:$$PATH" NO_MKDOCS_2_WARNING=1 mkdocs build --quiet --strict

# The pages of results in a headless Chromium or Chrome.
test-browser: .venv/.ready-test
	$(RUN) pytest -q -m browser

lint: .venv/.ready-test
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy

# The whole pipeline with tiny settings, in a copy, so that committed results stay as they are.
smoke: .venv/.ready
	rm -rf build/smoke
	git clone --quiet . build/smoke
	cd build/smoke && $(RUN) PYTHONPATH=src python -m lmladder run experiment=smoke
	rm -rf build/smoke

# Whole ladders, one for each seed, in a clone of the last commit; what git keeps of each is copied to
# results/<target>/seed<seed>. shakespeare_90 has a mixture with the weights that shakespeare fitted.
# `make shakespeare SEEDS=0` trains one.
SEEDS ?= 0 1 2
WEIGHTS := outputs/mixtures/mixture/weights.json
results: tales shakespeare shakespeare_90
	$(RUN) python benchmarks/readme.py README.md docs/results.md

tales: SETTINGS = data=tales
shakespeare shakespeare_90: SETTINGS = experiment=$@

tales shakespeare shakespeare_90: .venv/.ready
	rm -rf build/$@
	git clone --quiet . build/$@
	set -e; export LMLADDER_DATA="$${LMLADDER_DATA:-$(CURDIR)/data/downloads}"; for seed in $(SEEDS); do \
		if [ $@ = shakespeare_90 ]; then \
			cp results/shakespeare/seed$$seed/$(WEIGHTS) build/$@/models/; fi; \
		(cd build/$@; $(RUN) PYTHONPATH=src python stages/compose.py $(SETTINGS) seed=$$seed; \
			$(RUN) dvc repro); \
		rm -rf results/$@/seed$$seed; mkdir -p results/$@/seed$$seed; \
		(cd build/$@; git ls-files params.yaml dvc.lock outputs/evaluate ':!*.gitignore'; \
			ls $(WEIGHTS) 2> /dev/null || true) \
			| tar -c -C build/$@ -T - | tar -x -C results/$@/seed$$seed; \
	done
	rm -rf build/$@

bench: .venv/.ready
	$(RUN) python benchmarks/counts.py
	$(RUN) python benchmarks/train_step.py --config nano

# The generated parts of README.md and docs/, from results/ and from what the snippets print, but for
# docs/scaling.md, which takes minutes and needs SciPy: python benchmarks/readme.py docs/scaling.md
docs: .venv/.ready-test
	$(RUN) python -m tests.snippets docs/*.md
	$(RUN) python benchmarks/readme.py README.md docs/results.md docs/architectures.md docs/oracle.md \
		docs/performance.md

# What the commands above made, but neither results nor downloaded texts.
clean:
	rm -rf .venv .venv-peers .venv-site build .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	rm -rf src/lmladder.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
