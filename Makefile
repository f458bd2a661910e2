# make test: builds two environments and passes the tests in both. make demo: good images in, verdicts out.
PYTHON ?= python3
DATA ?= $(or $(EDGE_AD_DATA),data)
CATEGORY ?= bottle
WEIGHTS ?=
BACKBONE ?= resnet18
RUNTIME := .venv-runtime
EXPORT := .venv

.PHONY: test test-runtime test-export demo bench lint clean

test: test-runtime test-export

# What an edge PC has: the base install and one engine. No torch, no onnx, no OpenVINO: their absence is tested.
$(RUNTIME)/ready: pyproject.toml CMakeLists.txt $(wildcard edge_ad/native/*)
	$(PYTHON) -m venv --clear $(RUNTIME)
	$(RUNTIME)/bin/pip install --quiet --disable-pip-version-check scikit-build-core nanobind cmake ninja
	$(RUNTIME)/bin/pip install --quiet --disable-pip-version-check --no-build-isolation --editable '.[onnx,test]'
	touch $@

# What a workstation has. Plain torch and torchvision: the pair that fits together.
$(EXPORT)/ready: pyproject.toml CMakeLists.txt $(wildcard edge_ad/native/*)
	$(PYTHON) -m venv --clear $(EXPORT)
	$(EXPORT)/bin/pip install --quiet --disable-pip-version-check scikit-build-core nanobind cmake ninja
	$(EXPORT)/bin/pip install --quiet --disable-pip-version-check --no-build-isolation --editable '.[export,test,lint]'
	touch $@

test-runtime: $(RUNTIME)/ready
	$(RUNTIME)/bin/python -m pytest -q

test-export: $(EXPORT)/ready lint
	$(EXPORT)/bin/python -m pytest -q

lint: $(EXPORT)/ready
	$(EXPORT)/bin/ruff check .
	$(EXPORT)/bin/ruff format --check .
	$(EXPORT)/bin/mypy
	$(EXPORT)/bin/clang-format --dry-run --Werror edge_ad/native/*.cpp edge_ad/native/*.hpp edge_ad/native/*.inl

bench: $(EXPORT)/ready
	$(EXPORT)/bin/python -m pytest bench --benchmark-only

# make demo DATA=folder/of/categories CATEGORY=bottle WEIGHTS=resnet18.pth
demo: $(EXPORT)/ready
	$(EXPORT)/bin/python -m export $(CATEGORY) --data $(DATA) --backbone $(BACKBONE) --coreset 0.01 \
		$(if $(WEIGHTS),--weights $(WEIGHTS)) --out $(CATEGORY).bundle
	$(EXPORT)/bin/edge-ad inspect $(CATEGORY).bundle $(DATA)/$(CATEGORY)/test \
		--csv outputs/$(CATEGORY).csv --overlay outputs/$(CATEGORY) || test $$? -eq 1
	@echo "pictures: outputs/$(CATEGORY)/, table: outputs/$(CATEGORY).csv"

clean:
	rm -rf build $(RUNTIME) $(EXPORT) outputs
