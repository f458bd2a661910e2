# make test: builds two environments and passes the tests in both.
# make demo: renders sample images, makes a bundle of them and inspects with it; minutes on a fresh machine, no torch.
PYTHON ?= python3
DATA ?= $(or $(EDGE_AD_DATA),data)
CATEGORY ?= cable
BACKBONE ?=
WEIGHTS ?=
RUNTIME := .venv-runtime
DEMO := .venv-demo
DOCS := .venv-docs
EXPORT := .venv
# torchvision's networks need torch; the embedded one does not
DEMO_ENV := $(if $(BACKBONE)$(WEIGHTS),$(EXPORT),$(DEMO))
NATIVE := pyproject.toml CMakeLists.txt $(wildcard edge_ad/native/*.?pp edge_ad/native/*.inl)

, := ,
# $(1): environment, $(2): extras
define environment
	$(PYTHON) -m venv --clear $(1)
	$(1)/bin/pip install --quiet --disable-pip-version-check scikit-build-core nanobind cmake ninja
	$(1)/bin/pip install --quiet --disable-pip-version-check --no-build-isolation --editable '.[$(2)]'
	touch $(1)/ready
endef

.PHONY: test test-runtime test-export demo bench lint docs clean

test: test-runtime test-export

# What an edge PC has: the base install and one engine. No torch, no onnx, no OpenVINO: their absence is tested.
$(RUNTIME)/ready: $(NATIVE)
	$(call environment,$(RUNTIME),onnx$(,)test)

# What a workstation has. Plain torch and torchvision: the pair that fits together.
$(EXPORT)/ready: $(NATIVE)
	$(call environment,$(EXPORT),export$(,)test$(,)lint)

$(DEMO)/ready: $(NATIVE)
	$(call environment,$(DEMO),demo)

# Tables of options are read from the commands, so the package is installed there too.
$(DOCS)/ready: $(NATIVE)
	$(call environment,$(DOCS),docs)

test-runtime: $(RUNTIME)/ready
	$(RUNTIME)/bin/python -m pytest -q

test-export: $(EXPORT)/ready lint
	$(EXPORT)/bin/python -m pytest -q

lint: $(EXPORT)/ready
	$(EXPORT)/bin/ruff check .
	$(EXPORT)/bin/ruff format --check .
	$(EXPORT)/bin/mypy
	$(EXPORT)/bin/lint-imports
	$(EXPORT)/bin/clang-format --dry-run --Werror edge_ad/native/*.cpp edge_ad/native/*.hpp edge_ad/native/*.inl
	$(EXPORT)/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml

# Pages in build/docs: open index.html, no network needed.
docs: $(DOCS)/ready
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/python -m mkdocs build --strict --quiet
	@echo "docs: build/docs/index.html"

bench: $(EXPORT)/ready
	$(EXPORT)/bin/python -m pytest bench --benchmark-only

# make demo                                            the rendered sample, the embedded backbone
# make demo DATA=folder CATEGORY=bottle                images of your own
# make demo DATA=folder CATEGORY=bottle BACKBONE=resnet18 WEIGHTS=resnet18.pth
demo: $(DEMO_ENV)/ready
	@test -d $(DATA)/$(CATEGORY) || $(DEMO_ENV)/bin/python -m export.sample $(CATEGORY) $(DATA)
	$(DEMO_ENV)/bin/python -m export $(CATEGORY) --data $(DATA) --to openvino --coreset 0.05 --out $(CATEGORY).bundle \
		$(if $(BACKBONE),--backbone $(BACKBONE)) $(if $(WEIGHTS),--weights $(WEIGHTS))
	@mkdir -p outputs
	@$(DEMO_ENV)/bin/edge-ad inspect $(CATEGORY).bundle $(DATA)/$(CATEGORY)/test \
		--csv outputs/$(CATEGORY).csv --overlay outputs/$(CATEGORY) > outputs/$(CATEGORY).txt || test $$? -eq 1
	@$(DEMO_ENV)/bin/python -c \
		"from edge_ad.system.tables import csv_table; print(csv_table('outputs/$(CATEGORY).csv'))"
	@echo "pictures: outputs/$(CATEGORY)/   table: outputs/$(CATEGORY).csv   bundle: $(CATEGORY).bundle"

clean:
	rm -rf build $(RUNTIME) $(DEMO) $(DOCS) $(EXPORT) outputs
