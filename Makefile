# Thin aliases for people who have just cloned: everything is DVC underneath.

# The make of macOS looks up a line without a shell's signs on the PATH that it was called with, unless a shell is named.
SHELL := bash
PYTHON ?= python3
VENV := .venv
# DVC and its queue call `python` and `dvc` by name, so the environment's programs come first.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.PHONY: help reproduce all test test-spark mend preprocess tune train-best baseline evaluate visualize run-api experiments benchmark ablation torture validate-judge literature report docs lock
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*##/ {printf "%-16s%s\n", $$1, $$2}' Makefile

reproduce: mend ## from nothing to the table: set up, then run every stage that is stale
	dvc repro
	python -m hybridvae table

all: tune ## tune HybridVAE, then every stage with its winner, and the documents
	dvc repro
	python -m hybridvae table
	python -m hybridvae docs

test: $(VENV)/ready-test ## tests, ruff and mypy
	ruff check .
	ruff format --check .
	mypy
	pytest

test-spark: $(VENV)/ready-spark ## the tests that run Spark, whose tables must be DuckDB's: takes 450 MB more, and Java
	pytest -m spark -n 0 tests/spark

mend: $(VENV)/ready ## put right what DVC left half written when it was killed; the targets that run stages begin with it
	@python -m hybridvae mend

preprocess: mend ## fetch, clean, split and embed
	dvc repro embed

tune: $(VENV)/ready ## run a grid on DVC's queue, write its winner into params.yaml: MODEL=ease DATASET=beauty GRID=specified JOBS=2
	python -m hybridvae tune $(MODEL) $(if $(DATASET),--dataset $(DATASET)) $(if $(GRID),--grid $(GRID)) --jobs $(or $(JOBS),2)

train-best: mend ## HybridVAE: validate, then train on training + validation
	dvc repro train@hybridvae

baseline: mend ## the other models: validate, train and evaluate
	dvc repro $$(python -c "import yaml; print(*('evaluate@' + m for m in yaml.safe_load(open('params.yaml'))['models'] if m != 'hybridvae'))")

evaluate: mend ## judge every model on the test part and compare
	dvc repro compare

visualize: mend ## draw the figures
	dvc repro visualize

run-api: mend ## make what the service needs, and serve at http://127.0.0.1:8000: MODEL=ease HOST=0.0.0.0 PORT=80
	dvc repro train@$(or $(MODEL),hybridvae)
	python -m hybridvae serve --model $(or $(MODEL),hybridvae) $(if $(HOST),--host $(HOST)) $(if $(PORT),--port $(PORT))

experiments: $(VENV)/ready ## print the experiments side by side, and means over seeds: MODEL=ease
	python -m hybridvae experiments $(MODEL)

benchmark: $(VENV)/ready ## every model tuned, several seeds: DATASET=beauty SEEDS=5 [SPLIT=cold_items]
	python benchmarks/benchmark.py $(DATASET) --seeds $(or $(SEEDS),5) --split $(or $(SPLIT),temporal)

ablation: $(VENV)/ready ## HybridVAE with one thing changed at a time, on validation: DATASET=musical_instruments SEEDS=5 [EPOCHS=20]
	python benchmarks/ablation.py $(DATASET) --seeds $(or $(SEEDS),5) $(if $(EPOCHS),--epochs $(EPOCHS))

torture: $(VENV)/ready ## try to break it: spoilt input, parameters, kills, damage, requests: SEED=1 [ONLY=intake,service] [SHARE=0.1]
	python benchmarks/torture.py --seed $(or $(SEED),1) $(if $(ONLY),--only $(ONLY)) $(if $(SHARE),--share $(SHARE))

validate-judge: $(VENV)/ready ## the judge against published figures: DATA=folder with beauty_2014_5core.jsonl.gz
	python benchmarks/validate_judge.py $(DATA)

literature: $(VENV)/ready ## our models beside published figures: DATA=folder [SEEDS=3] [ONLY=ease,lightgcn] [TIES=item_id,drawn]
	python benchmarks/literature.py $(DATA) --seeds $(or $(SEEDS),3) $(if $(ONLY),--only $(ONLY)) $(if $(TIES),--ties $(TIES))

report: $(VENV)/ready ## write the results as one HTML file, plots/report.html
	python -m hybridvae report

docs: $(VENV)/ready ## write the committed results into the README and docs/benchmarks
	python -m hybridvae docs

$(VENV)/ready: requirements.lock pyproject.toml
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python 3.11 or newer is needed: make PYTHON=python3.12 ...')"
	$(PYTHON) -m venv $(VENV)
	pip install --quiet --constraint requirements.lock --editable .
	python -m hybridvae plots-page $(VENV)/plots.html
	dvc config --local plots.html_template ../$(VENV)/plots.html  # so that `dvc plots` needs no network
	touch $@

$(VENV)/ready-test: $(VENV)/ready
	pip install --quiet --constraint requirements.lock --editable '.[test]'
	touch $@

$(VENV)/ready-spark: $(VENV)/ready-test
	pip install --quiet --constraint requirements.lock --editable '.[test,spark]'
	touch $@

lock: ## pin the newest versions that fit pyproject.toml (needs uv)
	uv pip compile --universal --python-version 3.11 --extra test --extra spark --upgrade --no-header --no-annotate --output-file requirements.lock pyproject.toml
	sed -i.bak 's/+cpu//' requirements.lock && rm requirements.lock.bak
