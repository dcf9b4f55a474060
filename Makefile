# make rsi   six rounds of self-improvement on the embedded model, then where to look
# make test  everything that CI checks
# make prompt-report PROMPTS=path [COLUMN=Prompt CATEGORY=Category]   what the filters drop of a file of prompts
# make faults      does faults to real runs and writes what came of them into docs/faults.md
# make kill-table  kills and resumes runs 50 times and writes the table docs/kill-table.md
# make many-rounds  runs 30 rounds and writes time, memory and open files of each into docs/many-rounds.md
# make ui    MLflow and Kedro-Viz on what has been run
# make site  Kedro-Viz with previews of the newest run, and its report, as files to share, in build/
# make docs  the documentation as a site in build/site
# make bad-input   runs every case of bad input and writes what is said of it into docs/bad-input.md
# make study   the studies of benchmarks/studies with tables and pages in docs/studies; some 15 hours of two cores
# make bench   how fast a round, a worker and the command line are; writes docs/benchmarks.md
# make base-model  trains the embedded model again
# make parity  our scores beside the official packages' (SIZE=small, full or all; BERT=its vocab.txt); needs Python 3.11
# make official-rewards  builds the environment of the official packages, for `make parity` and `implementation: official`
# make rehearsal  runs conf/sd14 and conf/sd3 at full size on random weights; an hour of two cores, 24 GB of memory
# ENV names a configuration environment for rsi, ui, site and prompt-report: make rsi ENV=sd14
# TORCH_INDEX_URL may name a package index with a CPU build of torch: make rsi TORCH_INDEX_URL=…

PYTHON ?= python3
ROUNDS ?= 6
ENV ?=
MLFLOW_PORT ?= 5000
VIZ_PORT ?= 4141
BIN := .venv/bin
READY := .venv/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
SIZE ?= small
TEST_WORKERS ?= 4
PARITY_PYTHON ?= python3.11
PARITY := data/parity
OFFICIAL := $(PARITY)/official/bin/python
ENV_OPTION = $(if $(ENV),--env=$(ENV))

.PHONY: help rsi test lint ui site docs bench parity official-rewards rehearsal study base-model prompt-report bad-input faults kill-table many-rounds clean

help:
	@awk '!/^#/ { exit } { sub(/^# /, ""); print }' $(firstword $(MAKEFILE_LIST))

rsi: $(READY)
	$(BIN)/kedro run $(ENV_OPTION) --pipeline=rsi --params rounds=$(ROUNDS)

test: $(READY) lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q --numprocesses $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

ui: $(READY)
	$(BIN)/kedro rsi ui $(ENV_OPTION) --params rounds=$(ROUNDS) --mlflow-port $(MLFLOW_PORT) --viz-port $(VIZ_PORT)

site: $(READY)
	$(BIN)/kedro rsi site $(ENV_OPTION) --params rounds=$(ROUNDS)

docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "Look at it: $(BIN)/python -m http.server --directory build/site      # http://127.0.0.1:8000"

bench: $(READY)
	$(BIN)/python benchmarks/bench.py

official-rewards: $(PARITY)/.installed

parity: $(READY) $(PARITY)/.installed
	$(BIN)/python benchmarks/parity/run.py --size $(SIZE) --official $(OFFICIAL) --folder $(PARITY) $(if $(BERT),--bert $(BERT),)

rehearsal: $(READY)
	$(BIN)/python benchmarks/rehearsal/run.py

study: $(READY)
	$(BIN)/python benchmarks/study_inputs.py
	for study in claims beyond second_family strategies hopeless sample_size regimes levers; do \
		$(BIN)/kedro rsi study benchmarks/studies/$$study.yml --tables docs/studies/$$study --page docs/studies/$$study.md || exit 1; \
	done
	$(BIN)/python benchmarks/results.py
	for picture in strategies collapse weights kept; do \
		$(BIN)/python benchmarks/pictures.py $$picture || exit 1; \
	done

base-model: $(READY)
	$(BIN)/kedro run --pipeline=base_model

prompt-report: $(READY)
	@$(BIN)/kedro rsi prompts $(if $(PROMPTS),"$(PROMPTS)") $(if $(COLUMN),--column "$(COLUMN)") \
	$(if $(CATEGORY),--category-column "$(CATEGORY)") $(if $(TOKENIZER),--tokenizer "$(TOKENIZER)") $(ENV_OPTION)

bad-input: $(READY)
	$(BIN)/python -m pytest -q tests/bad_input --write-table

faults: $(READY)
	$(BIN)/python -m pytest -q tests/faults --write-table

kill-table: $(READY)
	$(BIN)/python benchmarks/kill_test.py --kills 50 --table docs/kill-table.md

many-rounds: $(READY)
	$(BIN)/python benchmarks/many_rounds.py

clean:
	rm -rf .venv build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

$(PARITY)/.installed: benchmarks/parity/requirements.txt benchmarks/parity/requirements-official.txt
	@echo "Building $(PARITY)/official with the official packages of HPSv2 and ImageReward: a download of 2.8 GB on Linux"
	@echo "(5.3 GB on disk), most of it CUDA's libraries; 0.3 GB where TORCH_INDEX_URL names an index with CPU builds."
	@echo "At full size the checkpoints, which are made and not downloaded, take 6 GB more of disk and 10 GB of memory."
	$(PARITY_PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) and "the official packages need Python 3.11, this is " + sys.version)'
	test -x $(OFFICIAL) || $(PARITY_PYTHON) -m venv $(PARITY)/official
	$(if $(TORCH_INDEX_URL),$(OFFICIAL) -m pip install --quiet --index-url $(TORCH_INDEX_URL) torch==2.1.2 torchvision==0.16.2,)
	$(OFFICIAL) -m pip --disable-pip-version-check install --quiet --requirement benchmarks/parity/requirements.txt
	$(OFFICIAL) -m pip --disable-pip-version-check install --quiet --no-deps --requirement benchmarks/parity/requirements-official.txt
	touch $@

# .begun tells of a venv whose making was stopped
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed, this is " + sys.version)'
	test -x $(BIN)/python -a ! -e .venv/.begun || { mkdir -p .venv && touch .venv/.begun && $(PYTHON) -m venv .venv && rm .venv/.begun; }
	$(PIP) --constraint constraints.txt $(if $(TORCH_INDEX_URL),--index-url $(TORCH_INDEX_URL),) torch
	$(PIP) --constraint constraints.txt --editable '.[dev]'
	touch $@
