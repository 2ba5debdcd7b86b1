# Every target sets up what it needs, once: a virtual environment in .venv.
PYTHON ?= python3
BIN := .venv/bin
DATA ?= data
OUT ?= runs/brats-unet
SHARED := ../shared/data

.PHONY: run test check train calibrate evaluate bench bench-viewer screenshot data clean

run: .venv/app            ## serve the app at http://localhost:8501
	$(BIN)/streamlit run app.py

test: .venv/dev           ## run the tests
	$(BIN)/python -m pytest

check: .venv/dev          ## style, types and the direction of dependencies
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# glibc's defaults return every large tensor to the kernel and fault it in again: training is 1.7 times slower
train: .venv/train data   ## train on the BraTS cases in DATA, resumable; OUT becomes a model folder
	KERAS_BACKEND=$${KERAS_BACKEND:-torch} MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=8589934592 \
	MALLOC_TOP_PAD_=268435456 GLIBC_TUNABLES=glibc.malloc.hugetlb=1 \
	$(BIN)/python -m model.train $(DATA) $(OUT) $(ARGS)

calibrate: .venv/app data ## settle what the doubt of the networks is worth, once all folds are trained
	$(BIN)/python -m model.calibrate $(DATA) $(ARGS)

evaluate: .venv/app data  ## measure the shipped model on the cases it never saw
	$(BIN)/python -m model.evaluate $(DATA) $(ARGS)

bench: .venv/app          ## from four files to a verified mask: seconds, memory, distance from this machine's peak
	$(BIN)/python -m tests.benchmarks.bench_model $(ARGS)

bench-viewer: .venv/dev   ## how long from the wheel to the picture, beside st.slider
	$(BIN)/python -m tests.benchmarks.bench_viewer

screenshot: .venv/dev     ## take docs/segment.png anew: the demo study in the app
	$(BIN)/python -m tests.benchmarks.screenshot $(ARGS)

data: .venv/dev           ## unpack the real cases beside the repository, if they are there
	@if [ -d $(SHARED) ] && [ "$(DATA)" = data ]; then \
	  $(BIN)/python $(SHARED)/unpack.py data >/dev/null && \
	  cp -u $(SHARED)/manifest.csv $(SHARED)/lesion_cubes/*.npz data/; fi

.venv/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14) and "Python 3.11 to 3.13 is needed; set PYTHON=...")'
	$(PYTHON) -m venv .venv
	@touch $@

.venv/app: requirements.txt constraints.txt | .venv/python
	$(BIN)/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

.venv/%: requirements-%.txt requirements.txt constraints.txt | .venv/python
	$(BIN)/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

clean:                    ## remove the virtual environment
	rm -rf .venv
