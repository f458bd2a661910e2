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
CHECKS := .venv-checks
# torchvision's networks need torch; the embedded one does not
DEMO_ENV := $(if $(BACKBONE)$(WEIGHTS),$(EXPORT),$(DEMO))
FOLDERS := $(addprefix edge_ad/native,/ /simd/ /simd/x86/ /simd/arm/)
CORE := $(wildcard $(foreach suffix,cpp hpp inl,$(addsuffix *.$(suffix),$(FOLDERS))))
NATIVE := pyproject.toml CMakeLists.txt $(CORE)

, := ,
# What the core is built with stands once beside the environments, so that the second of them finds it built.
TOOLS := build/tools
# They build the core in one folder: one at a time. Where flock is missing (macOS), make no two of them by --jobs.
ALONE := $(if $(shell command -v flock),flock build/lock)

# $(1): environment, $(2): extras. What they need is installed while the core is built: that takes the longest, and pip
# works with one core alone. The tools must not count as installed there.
# Bytecode is made of what is imported, when it is: that of all of torch is half of the time of an installation.
PIP_INSTALL = $(1)/bin/pip install --quiet --disable-pip-version-check --no-compile
# The pip of $(PYTHON) brings another one in a third of the time that venv takes for it. It may be missing, or older than
# 22.3 and know no --python.
define venv
	$(PYTHON) -m venv --clear --without-pip $(1)
	$(PYTHON) -m pip --python $(1)/bin/python install --quiet --disable-pip-version-check --no-compile pip 2> /dev/null || \
		$(1)/bin/python -m ensurepip --default-pip > /dev/null
endef
define environment
	$(call venv,$(1))
	mkdir -p build
	$(1)/bin/python packaging/requirements.py '$(2)' > build/$(1).txt
	trap 'exit 1' INT TERM; \
	$(PIP_INSTALL) --requirement build/$(1).txt & needed=$$!; trap 'kill $$needed 2> /dev/null || true' EXIT; \
	$(ALONE) sh -ec 'test -e $(TOOLS)/ready || $(PIP_INSTALL) --target $(TOOLS) scikit-build-core nanobind cmake ninja; \
		touch $(TOOLS)/ready; \
		PYTHONPATH=$(CURDIR)/$(TOOLS) $(PIP_INSTALL) --no-build-isolation --no-deps --editable .' && wait $$needed
	touch $(1)/ready
endef

.PHONY: environments test test-runtime test-export test-once test-both test-making test-using demo bench lint docs clean

# For --jobs 3: lint first, as the last line is to be pytest's, then what takes longest and what waits most.
test: lint test-making test-once test-using test-both

environments: $(EXPORT)/ready $(RUNTIME)/ready $(DEMO)/ready $(DOCS)/ready $(CHECKS)/ready

# What an edge PC has: the base install and one engine, and a browser to test the operator page. No torch, no onnx, no
# OpenVINO: their absence is tested.
$(RUNTIME)/ready: $(NATIVE)
	$(call environment,$(RUNTIME),onnx$(,)test$(,)browser)

# What a workstation has, the page with a browser to test it, and the fleet. Plain torch and torchvision: the pair that fits together.
$(EXPORT)/ready: $(NATIVE)
	$(call environment,$(EXPORT),export$(,)test$(,)page$(,)browser$(,)ray$(,)lint)

$(DEMO)/ready: $(NATIVE)
	$(call environment,$(DEMO),demo)

# Tables of options are read from the commands, so the package is installed there too.
$(DOCS)/ready: $(NATIVE)
	$(call environment,$(DOCS),docs)

# ONCE: tests that need nothing of the export, and whatever engine there is, or none, they find the same. The first
# environment alone passes them; tests/test_project.py sees that it skips none of them for want of a package.
# Each environment in two parts, so that --jobs 3 keeps two cores busy: stations and cameras wait more than they work.
ONCE := tests/native tests/sources tests/station tests/data tests/frames tests/fuzz tests/learning tests/metrics \
	tests/monitor tests/spec \
	tests/bundle/test_atomicity.py tests/bundle/test_corruption.py tests/bundle/test_file.py \
	tests/bundle/test_manifest.py tests/bundle/test_points.py \
	tests/calibration/test_promise.py tests/calibration/test_rules.py tests/calibration/test_tail.py \
	tests/heads/test_heads.py tests/heads/test_index.py tests/heads/test_patchcore.py \
	tests/serving/test_budget.py tests/serving/test_chooser.py tests/serving/test_ladder.py \
	tests/serving/test_meter.py tests/serving/test_timing.py \
	tests/system/test_growing_files.py tests/system/test_inputs.py tests/system/test_processes.py \
	tests/system/test_progress.py tests/system/test_shared.py tests/system/test_tables.py
MAKING := tests/export tests/evaluation tests/test_acceptance.py
# $(1): environment, $(2): tests. Whole lines, as soon as they are there: parts that run side by side stay readable.
tests = set -o pipefail; $(1)/bin/python -m pytest -q $(2) 2>&1 | grep -a --line-buffered ""
test-once test-both test-making test-using: SHELL := bash
test-runtime: test-both test-once
test-export: test-making test-using

test-once: $(RUNTIME)/ready
	$(call tests,$(RUNTIME),$(ONCE))

test-both: $(RUNTIME)/ready
	$(call tests,$(RUNTIME),tests $(addprefix --ignore ,$(ONCE)))

test-making: $(EXPORT)/ready
	$(call tests,$(EXPORT),$(MAKING))

test-using: $(EXPORT)/ready
	$(call tests,$(EXPORT),tests $(addprefix --ignore ,$(ONCE) $(MAKING)))

lint: $(EXPORT)/ready
	$(EXPORT)/bin/ruff check .
	$(EXPORT)/bin/ruff format --check .
	$(EXPORT)/bin/mypy
	$(EXPORT)/bin/lint-imports
	$(EXPORT)/bin/clang-format --dry-run --Werror $(CORE) tests/native/*.cpp
	$(EXPORT)/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml

# Pages in build/docs: open index.html, no network needed. No --quiet: it would hide broken links from --strict.
docs: $(DOCS)/ready
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/python -m mkdocs build --strict
	@echo "docs: build/docs/index.html"

bench: $(EXPORT)/ready
	$(EXPORT)/bin/python -m pytest bench --benchmark-only

# make demo                                            the rendered sample, the embedded backbone
# make demo DATA=folder CATEGORY=bottle                images of your own
# make demo DATA=folder CATEGORY=bottle BACKBONE=resnet18 WEIGHTS=resnet18.pth
demo: $(DEMO_ENV)/ready
	@test -d $(DATA)/$(CATEGORY) || $(DEMO_ENV)/bin/python -m export.sample $(CATEGORY) $(DATA)
	$(DEMO_ENV)/bin/python -m export $(CATEGORY) --data $(DATA) --to openvino --out $(CATEGORY).bundle \
		$(if $(BACKBONE),--backbone $(BACKBONE)) $(if $(WEIGHTS),--weights $(WEIGHTS))
	@mkdir -p outputs
	@$(DEMO_ENV)/bin/edge-ad inspect $(CATEGORY).bundle $(DATA)/$(CATEGORY)/test \
		--csv outputs/$(CATEGORY).csv --overlay outputs/$(CATEGORY) > outputs/$(CATEGORY).txt || test $$? -eq 1
	@$(DEMO_ENV)/bin/python -c \
		"from edge_ad.system.tables import csv_table; print(csv_table('outputs/$(CATEGORY).csv'))"
	@echo "pictures: outputs/$(CATEGORY)/   table: outputs/$(CATEGORY).csv   bundle: $(CATEGORY).bundle"

clean:
	rm -rf build $(RUNTIME) $(DEMO) $(DOCS) $(EXPORT) $(CHECKS) outputs

# ---- the native core on other CPUs, under sanitizers; fuzzing: CONTRIBUTING.md says what to install ----
.PHONY: cross cross-windows cross-aarch64 sanitize sanitize-address sanitize-thread fuzz
CMAKE ?= cmake
FUZZ_SECONDS ?= 60
CHECK_CORE := -DEDGE_AD_CROSS_CHECK=ON -DEDGE_AD_WERROR=ON
WINE := $(or $(shell command -v wine64),$(wildcard /usr/lib/wine/wine64))
WINESERVER := $(or $(shell command -v wineserver),$(wildcard /usr/lib/wine/wineserver64))
# The thread sanitizer of GCC 12 knows no memory map as random as that of today's kernels; a container may forbid this.
FIXED_MAP := $(shell setarch -R true 2> /dev/null && echo setarch -R)

cross: cross-windows cross-aarch64

# $(1): toolchain file in cmake/, $(2): its compiler, $(3): what runs its programs, $(4): Debian packages, $(5): command
define cross_check
	@if ! command -v $(CMAKE) $(2) > /dev/null || test -z "$(3)"; then \
		echo "skipped: $(1) lacks CMake, a compiler or an emulator: apt-get install cmake $(4)"; \
	else set -e; \
		$(CMAKE) -S . -B build/cross/$(1) -DCMAKE_TOOLCHAIN_FILE=$(CURDIR)/cmake/$(1).cmake $(CHECK_CORE) > build/cross/$(1).log; \
		$(CMAKE) --build build/cross/$(1) --parallel 2 > build/cross/$(1).log; \
		cd build/cross/$(1); $(5); \
	fi
endef

build/cross:
	@mkdir -p $@

cross-windows: | build/cross
	$(call cross_check,windows-x86_64,x86_64-w64-mingw32-g++-posix,$(WINE),g++-mingw-w64-x86-64-posix wine64,\
		unset DISPLAY; export WINEDEBUG=-all WINEDLLOVERRIDES=mscoree$(,)mshtml= WINEPREFIX="$$PWD/wine"; \
		$(WINE) cross_check.exe && code=0 || code=$$?; $(WINESERVER) -k || true; exit $$code)

cross-aarch64: | build/cross
	$(call cross_check,linux-aarch64,aarch64-linux-gnu-g++,$(shell command -v qemu-aarch64),g++-aarch64-linux-gnu qemu-user,\
		qemu-aarch64 cross_check; echo "Cortex-A72:"; qemu-aarch64 -cpu cortex-a72 cross_check)

# Neither edge-ad nor an engine: both would hide the core that is built here.
$(CHECKS)/ready:
	$(call venv,$(CHECKS))
	$(call PIP_INSTALL,$(CHECKS)) nanobind cmake ninja numpy opencv-python-headless 'pytest>=8' hypothesis
	touch $@

sanitize: sanitize-thread sanitize-address

# C++ alone: under this sanitizer NumPy and Python themselves, which are not built with it, give reports of no use.
sanitize-thread: $(CHECKS)/ready
	$(CHECKS)/bin/cmake -S . -B build/sanitize/thread -G Ninja -DEDGE_AD_SANITIZE=thread $(CHECK_CORE) > /dev/null
	$(CHECKS)/bin/cmake --build build/sanitize/thread
	$(FIXED_MAP) build/sanitize/thread/cross_check

# $(1): a folder in which edge_ad, its tests and a core of its own come to stand together, $(2): options of CMake
define tree
	rm -rf $(1)/tree && mkdir -p $(1)/tree && cp -r edge_ad tests pyproject.toml $(1)/tree
	rm -f $(1)/tree/edge_ad/native/_core.*.so
	$(CHECKS)/bin/cmake -S . -B $(1) -G Ninja -DPython_EXECUTABLE=$(CURDIR)/$(CHECKS)/bin/python $(2) > /dev/null
	$(CHECKS)/bin/cmake --build $(1)
	$(CHECKS)/bin/cmake --install $(1) --prefix $(1)/tree > /dev/null
endef

# The core as Python loads it, with the tests of its face. CPython frees little at its end, so leaks are not looked for.
# The allocator of GCC 12's ASan has no fork handler: a child of a process at work may wait for its lock for ever.
sanitize-address: $(CHECKS)/ready
	$(call tree,build/sanitize/address,-DCMAKE_BUILD_TYPE=RelWithDebInfo -DEDGE_AD_SANITIZE=address$(,)undefined)
	cd build/sanitize/address/tree && \
		LD_PRELOAD="$$(c++ -print-file-name=libasan.so) $$(c++ -print-file-name=libubsan.so)" \
		ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 OPENBLAS_NUM_THREADS=1 \
		$(CURDIR)/$(CHECKS)/bin/python -X faulthandler -m pytest -q -p no:cacheprovider tests/native \
		--ignore tests/native/test_cross_check.py \
		--deselect tests/native/test_native_face.py::test_forked_children_search_with_workers_of_their_own

fuzz: $(CHECKS)/ready
	$(call PIP_INSTALL,$(CHECKS)) atheris
	$(call tree,build/fuzz)
	cd build/fuzz/tree && for target in image bundle; do \
		$(CURDIR)/$(CHECKS)/bin/python -m tests.fuzz.run $$target -max_total_time=$(FUZZ_SECONDS) -timeout=20 \
			-print_final_stats=1 -artifact_prefix=$(CURDIR)/build/fuzz/ || exit 1; \
	done
