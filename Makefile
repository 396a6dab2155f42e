# Two commands matter: `make demo` and `make test`. Each works alone on a fresh machine with Python >= 3.11 and make.

SHELL := /bin/bash
.DEFAULT_GOAL := help

CORES ?= $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
WORKERS ?= 2
CONFIG ?= workflow/studies/demo.yaml
TOWER ?= workflow/towers/grammar-vit
GENERATOR ?= workflow/generators/grammar
OUT ?= bench/gpu.json

LOCK := envs/requirements.lock
checksum = $(shell $(1) | cksum | cut -d ' ' -f 1)
# Written last, and their names hold checksums: of the lock, and of the lock with what the installed package says of
# itself (version, commands). A .venv with both files is complete and up to date; the second alone is a matter of seconds.
PACKAGES := .venv/complete-$(call checksum,cat $(LOCK))
STAMP := .venv/installed-$(call checksum,sed '/^\[tool.pytest/q' $(LOCK) src/brain2clip/__init__.py pyproject.toml)
PY := .venv/bin/python
BRAIN2CLIP := .venv/bin/brain2clip

# A .venv that serves several checkouts runs the source of this one.
export PYTHONPATH := $(CURDIR)/src
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: help env demo study field report why test lint format docs site bench gpu attack tower generator lock clean

help: ## this list
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1@\2/p' Makefile | awk -F@ '{ printf "%-15s %s\n", $$1, $$2 }'

env: $(STAMP) ## .venv alone: the hash lock, and this package as it stands in src/

demo: $(STAMP) ## the whole pipeline on the embedded simulated study, then its tables
	@$(BRAIN2CLIP) run --cores $(CORES) workflow/studies/demo.yaml

study: $(STAMP) ## the full simulated studies, EEG, fMRI and pictures from both (takes long), then their tables
	@$(BRAIN2CLIP) run --cores $(CORES) workflow/studies/study.yaml
	@$(BRAIN2CLIP) run --cores $(CORES) workflow/studies/study-fmri.yaml
	@$(BRAIN2CLIP) run --cores $(CORES) workflow/studies/generation.yaml

field: $(STAMP) ## every method of the field on a simulated study (up to two hours; goes on where it stopped), then its tables
	@$(BRAIN2CLIP) run --cores $(CORES) workflow/studies/field-simulated.yaml

report: $(STAMP) ## the report alone (CONFIG=config.yaml for another configuration than the demo)
	@$(BRAIN2CLIP) report $(CONFIG)

why: $(STAMP) ## what would run and why (CONFIG=config.yaml); with an edit: make why KEY=bands.broad.h_freq VALUE=30
	@$(BRAIN2CLIP) why $(CONFIG) $(if $(KEY),'$(KEY)' '$(VALUE)')

# In the order of the folders: the cluster of tests/slurm waits a lot, so its worker starts first.
test: $(STAMP) ## every test that this machine can run; says which it skipped and why
	@$(PY) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

lint: $(STAMP) ## ruff, snakefmt, mypy, snakemake --lint
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	.venv/bin/snakefmt --check Snakefile workflow/rules
	$(PY) -m mypy
	$(PY) -m snakemake --lint --configfile workflow/studies/demo.yaml

format: $(STAMP) ## write the style that lint wants
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .
	.venv/bin/snakefmt Snakefile workflow/rules

docs: $(STAMP) ## what is generated in docs (settings, methods, recorded tables) and the JSON schema
	@$(PY) -m brain2clip.documents.reference

site: $(STAMP) ## the documentation site, into site/ (with the results that are there)
	@$(PY) -m brain2clip.documents.site

bench: $(STAMP) ## benchmarks: bench/*.py, one after the other
	@set -e; for file in bench/*.py; do [ -e "$$file" ] || continue; echo "== $$file"; $(PY) "$$file"; done

gpu: $(STAMP) ## what a GPU does (four minutes): its tests, rates and memory, into OUT=bench/gpu.json
	@$(PY) bench/gpu.py --out $(OUT)

attack: $(STAMP) ## damaged files, mutated configurations, full disks, kills: counts what gets through (ten minutes; PARTS, SEED)
	@$(PY) tests/attack $(if $(SEED),--seed $(SEED)) $(PARTS)

tower: $(STAMP) ## train the small CLIP of the simulated study again, hours on a CPU (TOWER=folder)
	$(PY) -m brain2clip.simulation.train_tower --output $(TOWER)

generator: $(STAMP) ## train the picture generator of the simulated study again, two hours on a CPU (GENERATOR=folder)
	$(PY) -m brain2clip.simulation.train_generator --output $(GENERATOR)

lock: ## resolve the requirements of pyproject.toml again (needs uv and a package index)
	@command -v uv > /dev/null || { echo "make lock needs uv on the PATH" >&2; exit 1; }
	uv pip compile pyproject.toml --extra dev --extra docs --extra generate --universal --generate-hashes --no-emit-index-url -p 3.11 -o $(LOCK)

clean: ## remove caches and what the demo made (results/demo); other results, data and .venv stay
	rm -rf results/demo
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests bench workflow -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP):
	@bash envs/install.sh $(LOCK) $(PACKAGES) $(STAMP)
