# Thin aliases for people who have just cloned: everything is DVC underneath.

# The make of macOS looks up a line without a shell's signs on the PATH that it was called with, unless a shell is named.
SHELL := bash
PYTHON ?= python3
VENV := .venv
# DVC and its queue call `python` and `dvc` by name, so the environment's programs come first.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.PHONY: help setup reproduce all test test-spark mend preprocess tune train-best baseline evaluate visualize run-api experiments benchmark ablation scale torture validate-judge literature peers report docs picture lock
.DEFAULT_GOAL := help

# `make help` reads this file: `##@` begins a group, `##` says what a target does, and what follows a `|` is its options.
help: ## this list
	@awk '/^##@ / {print "\n" substr($$0, 5)} \
	  /^[a-z-]+:.*## / {name = $$0; sub(/:.*/, "", name); text = $$0; sub(/.*## /, "", text); parts = split(text, line, / \| /); \
	    printf "  %-14s  %s\n", name, line[1]; for (i = 2; i <= parts; i++) printf "  %-14s  %s\n", "", line[i]}' Makefile
	@printf '\n%s\n' 'Next: `make setup` installs and computes nothing; it then says how to go on.'

##@ Start

setup: $(VENV)/ready ## install everything into .venv, and compute nothing
	@printf '%s\n' 'Ready. Next, the trained models and a first list:' \
	  '  source $(VENV)/bin/activate && dvc pull' '  python -m hybridvae recommend --history 50,181'

reproduce: mend ## set up, run every stage that is stale, print the table
	dvc repro
	python -m hybridvae table

test: $(VENV)/ready-test ## ruff, mypy and the tests
	ruff check .
	ruff format --check .
	mypy
	pytest

test-spark: $(VENV)/ready-spark ## the tests that run Spark (450 MB more, and Java)
	pytest -m spark -n 0 tests/spark

##@ Use

run-api: mend ## train what is missing, then serve at http://127.0.0.1:8000 | MODEL=ease HOST=0.0.0.0 PORT=80
	dvc repro train@$(or $(MODEL),hybridvae)
	python -m hybridvae serve --model $(or $(MODEL),hybridvae) $(if $(HOST),--host $(HOST)) $(if $(PORT),--port $(PORT))

report: $(VENV)/ready ## the results as one HTML file, plots/report.html
	python -m hybridvae report

preprocess: mend ## only fetch, clean, split and embed
	dvc repro embed

train-best: mend ## only HybridVAE: validate, then train on all but the test part
	dvc repro train@hybridvae

baseline: mend ## only the other models: validate, train, evaluate
	dvc repro $$(python -c "import yaml; print(*('evaluate@' + m for m in yaml.safe_load(open('params.yaml'))['models'] if m != 'hybridvae'))")

evaluate: mend ## judge every model on the test part, and compare them
	dvc repro compare

visualize: mend ## draw the figures
	dvc repro visualize

##@ Experiments

tune: $(VENV)/ready ## run a grid on DVC's queue; its winner goes into params.yaml | MODEL=ease DATASET=beauty GRID=specified JOBS=2
	python -m hybridvae tune $(MODEL) $(if $(DATASET),--dataset $(DATASET)) $(if $(GRID),--grid $(GRID)) --jobs $(or $(JOBS),2)

experiments: $(VENV)/ready ## the experiments side by side, and means over seeds | MODEL=ease
	python -m hybridvae experiments $(MODEL)

all: tune ## tune HybridVAE, run all stages with its winner, write the docs
	dvc repro
	python -m hybridvae table
	python -m hybridvae docs

##@ Tables

benchmark: $(VENV)/ready ## tune every model, then judge the best of each | DATASET=beauty SEEDS=5 [SPLIT=cold_items] [DEFAULTS=1]
	python benchmarks/benchmark.py $(DATASET) --seeds $(or $(SEEDS),5) --split $(or $(SPLIT),temporal) $(if $(DEFAULTS),--defaults)

ablation: $(VENV)/ready ## HybridVAE with one thing changed at a time, on validation | DATASET=musical_instruments SEEDS=5 [EPOCHS=20]
	python benchmarks/ablation.py $(DATASET) --seeds $(or $(SEEDS),5) $(if $(EPOCHS),--epochs $(EPOCHS))

scale: $(VENV)/ready ## how cost grows with rows and items; goes on where it stopped | ONLY=prepare,judge [SHARE=0.01]
	python benchmarks/scale.py $(if $(ONLY),--only $(ONLY)) $(if $(SHARE),--share $(SHARE))

validate-judge: $(VENV)/ready ## the judge against published figures | DATA=folder with beauty_2014_5core.jsonl.gz
	python benchmarks/validate_judge.py $(DATA)

literature: $(VENV)/ready ## our models beside published figures | DATA=folder [SEEDS=3] [ONLY=ease,ials] [TIES=drawn]
	python benchmarks/literature.py $(DATA) --seeds $(or $(SEEDS),3) $(if $(ONLY),--only $(ONLY)) $(if $(TIES),--ties $(TIES))

peers: $(VENV)/ready $(VENV)-peers/ready ## speed beside RecBole, RecTools and LensKit (40 minutes) | DATASET=beauty [ONLY=multvae,ease] [RUNS=1] [AGAIN=1]
	python benchmarks/peers/measure.py $(DATASET) $(if $(ONLY),--only $(ONLY)) $(if $(RUNS),--runs $(RUNS)) $(if $(AGAIN),--again)

docs: $(VENV)/ready ## write the committed results into README.md and docs/
	python -m hybridvae docs

picture: $(VENV)/ready-test ## photograph the service's page (needs Chromium)
	python benchmarks/picture.py

##@ Care

mend: $(VENV)/ready ## repair what DVC left half written when it was killed
	@python -m hybridvae mend

torture: $(VENV)/ready ## try to break it: input, parameters, kills, requests | SEED=1 [ONLY=intake,service] [SHARE=0.1]
	python benchmarks/torture.py --seed $(or $(SEED),1) $(if $(ONLY),--only $(ONLY)) $(if $(SHARE),--share $(SHARE))

lock: ## pin the newest versions that pyproject.toml allows (needs uv)
	uv pip compile --universal --python-version 3.11 --extra test --extra spark --extra ann --upgrade --no-header --no-annotate --output-file requirements.lock pyproject.toml
	sed -i.bak 's/+cpu//' requirements.lock && rm requirements.lock.bak

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

$(VENV)-peers/ready: benchmarks/peers/requirements.lock
	$(PYTHON) -c "import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13) and 'The peers need Python 3.11 or 3.12: make PYTHON=python3.12 ...')"
	$(PYTHON) -m venv $(VENV)-peers
	$(VENV)-peers/bin/pip install --quiet --no-deps --requirement benchmarks/peers/requirements.lock
	touch $@
