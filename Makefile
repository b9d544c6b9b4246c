# Everything happens in .venv; a step that is done is not done again, and then needs no network.

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
BENCH_PIP := $(VENV)/bench/bin/python -m pip --disable-pip-version-check --quiet
LOCK := uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --quiet

.PHONY: demo test test-torch coverage-models gallery operators lint setup generate bench bench-online bench-gpu build image-check lock clean

demo: $(VENV)/.runtime ## start the server, ask it for four pictures, leave them in ./demo/
	$(BIN)/python scripts/demo.py

test: $(VENV)/.dev ## run every test
	$(BIN)/python -m pytest

test-torch: ## gradients against PyTorch's (downloads about 6 GB)
	sh scripts/make_venv.sh $(VENV)/torch
	$(VENV)/torch/bin/python -m pip install --quiet -e '.[cpu]' torch torchvision onnx2torch onnxscript pytest
	$(VENV)/torch/bin/python -m pytest -m torch -s tests/autodiff/test_torch.py

coverage-models: ## docs/coverage.md: whole models against PyTorch (downloads about 6 GB, takes hours)
	sh scripts/make_venv.sh $(VENV)/coverage
	$(VENV)/coverage/bin/python -m pip install --quiet -e '.[cpu]' torch==2.14.1 torchvision==0.29.1 timm onnxscript
	$(VENV)/coverage/bin/python -m scripts.coverage_models

gallery: $(VENV)/.runtime ## docs/gallery.md: a picture of every preset and objective (takes minutes)
	$(BIN)/python -m scripts.gallery

operators: $(VENV)/.dev ## docs/operators.md: every node case of ONNX (takes minutes)
	$(BIN)/python -m scripts.operators_table

lint: $(VENV)/.dev $(VENV)/.generate ## style, types, import contracts, contract, drift
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint
	$(BIN)/python scripts/generate.py --check

setup: $(VENV)/.dev $(VENV)/.generate ## install everything

generate: $(VENV)/.generate ## write the stubs anew from proto/
	$(BIN)/python scripts/generate.py

bench: $(VENV)/.bench $(VENV)/.bench-training ## how long a step takes, ten models, beside others (40 to 60 minutes)
	$(VENV)/bench/bin/python -m benchmarks.offline --all

bench-online: $(VENV)/.runtime ## the service under load, beside the engine alone (takes minutes)
	$(BIN)/python -m benchmarks.online --soak 10000 --sizes 96

bench-gpu: ## gradients and steps on a graphics processor (downloads about 2 GB)
	sh scripts/make_venv.sh $(VENV)/gpu
	$(VENV)/gpu/bin/python -m pip --disable-pip-version-check --quiet install -e '.[gpu]'
	$(VENV)/gpu/bin/python -m benchmarks.gpu

build: $(VENV)/.dev ## build the wheel and try it in an environment of its own
	$(BIN)/python scripts/check_wheel.py

image-check: $(VENV)/.dev ## build the container image without an engine and ask it for a picture
	deploy/check_image.sh

lock: ## resolve the requirement files anew (needs uv)
	$(LOCK) pyproject.toml --extra cpu -o requirements/runtime.txt
	$(LOCK) pyproject.toml --extra gpu -o requirements/gpu.txt
	$(LOCK) pyproject.toml --extra cpu --group dev --group build -o requirements/dev.txt
	$(LOCK) --group build -o requirements/build.txt
	$(LOCK) --group generate -o requirements/generate.txt

clean:
	rm -rf $(VENV) dist demo

$(VENV)/.python:
	sh scripts/make_venv.sh $(VENV)
	touch $@

$(VENV)/.runtime: $(VENV)/.python requirements/runtime.txt requirements/build.txt pyproject.toml
	$(PIP) install --require-hashes -r requirements/runtime.txt
	$(PIP) install --require-hashes -r requirements/build.txt
	$(PIP) install --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements/dev.txt tests/node/package-lock.json
	$(PIP) install --require-hashes -r requirements/dev.txt
	if command -v npm >/dev/null; then cd tests/node && npm ci --ignore-scripts --silent; fi
	touch $@

# An environment of its own: the generator needs an older protobuf than the package may have.
$(VENV)/.generate: $(VENV)/.python requirements/generate.txt
	sh scripts/make_venv.sh $(VENV)/generate
	$(VENV)/generate/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r requirements/generate.txt
	touch $@

# With PyTorch's CUDA, which pip brings along, about 6 GB are downloaded.
$(VENV)/.bench: Makefile pyproject.toml
	sh scripts/make_venv.sh $(VENV)/bench
	$(BENCH_PIP) install -e '.[cpu]' torch==2.14.1 torchvision==0.29.1 timm==1.0.31 onnxscript==0.7.2 onnx-ad==0.3.0 decorator ipython tqdm
	$(BENCH_PIP) install --no-deps torch-lucent==0.1.8 kornia==0.4.1 # it asks for more than it imports
	touch $@

# Built for Python up to 3.11, and never beside onnxruntime; without it that peer is absent.
$(VENV)/.bench-training:
	python3.11 -m venv $(VENV)/bench-training && \
	    $(VENV)/bench-training/bin/python -m pip --disable-pip-version-check --quiet install onnxruntime-training-cpu==1.19.2 && \
	    touch $@ || rm -rf $(VENV)/bench-training
