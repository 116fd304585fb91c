# libewc: build, tests, checks and installation. `make help` lists the targets.
#
# Sources are found by wildcard: a new file in lib/<layer>/, tests/<area>/test_*.c or bench/ needs no change here.
# Everything made lies under $(BUILD); several build directories can exist side by side.

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SECONDARY:
MAKEFLAGS += --no-builtin-rules
SHELL := /bin/bash

VERSION_MAJOR := $(shell sed -n 's/^\#define EWC_VERSION_MAJOR //p' include/libewc.h)
VERSION_MINOR := $(shell sed -n 's/^\#define EWC_VERSION_MINOR //p' include/libewc.h)
VERSION_PATCH := $(shell sed -n 's/^\#define EWC_VERSION_PATCH //p' include/libewc.h)
VERSION := $(VERSION_MAJOR).$(VERSION_MINOR).$(VERSION_PATCH)

# ---- What can be set on the command line --------------------------------------------------------------------------

BUILD ?= build
PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
DESTDIR ?=
WERROR ?= 0
# Sanitizers of this build directory, as for -fsanitize= (the targets asan, ubsan and tsan set it).
SANITIZE ?=
# Layers of the library that are built: a part of them suffices for the tests of that part.
LAYERS ?= api train model cpu io core
# Tests to run: words of program names, such as T="ops/test_rope io/"; empty: all.
T ?=
TEST_JOBS ?= 2
ifeq ($(origin CC),default)
CC := gcc
endif
ifeq ($(origin CXX),default)
CXX := g++
endif
LD ?= ld
OBJCOPY ?= objcopy
NM ?= nm
PKG_CONFIG ?= pkg-config
OPTIMIZE ?= -O3 -g

# ---- Dependencies ---------------------------------------------------------------------------------------------------

MACHINE := $(shell $(CC) -dumpmachine 2>/dev/null)
MULTIARCH := $(shell $(CC) -print-multiarch 2>/dev/null)

# The serial OpenBLAS as an archive: it becomes a private part of the library (docs/dependencies.md says why).
OPENBLAS_A ?= $(firstword $(wildcard /usr/lib/$(MULTIARCH)/openblas-serial/libopenblas.a \
	$(shell $(PKG_CONFIG) --variable=libdir openblas 2>/dev/null)/libopenblas.a))
# 1: products in bf16 through oneDNN can be chosen (ewc_context_options.products); the libraries then need libdnnl.
ONEDNN ?= 0
OPENBLAS_CFLAGS ?= $(addprefix -isystem ,$(firstword $(wildcard /usr/include/$(MULTIARCH)/openblas-serial) \
	$(shell $(PKG_CONFIG) --variable=includedir openblas 2>/dev/null)))
# What the library calls in OpenBLAS; all its other symbols become local.
BLAS_SYMBOLS := cblas_sgemm openblas_get_corename openblas_get_config

# ---- Flags ----------------------------------------------------------------------------------------------------------

WARNINGS := -Wall -Wextra -Wshadow -Wundef -Wpointer-arith -Wcast-align -Wwrite-strings -Wformat=2 -Wdate-time \
	-Wno-format-nonliteral
C_WARNINGS = $(WARNINGS) -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition -Wvla
# Where numbers are the product, no conversion goes unsaid.
LIB_WARNINGS := -Wconversion -Wdouble-promotion
ifeq ($(WERROR),1)
WARNINGS += -Werror
endif

DEFINES := -D_POSIX_C_SOURCE=200809L -D_DEFAULT_SOURCE
ifeq ($(ONEDNN),1)
DEFINES += -DEWCI_ONEDNN=1
ONEDNN_LIBS ?= -ldnnl -lgomp
# oneDNN runs on OpenMP; the library itself does not.
OPENMP := -fopenmp
endif
BASE := $(OPTIMIZE) -fPIC -fvisibility=hidden -fno-math-errno -fno-trapping-math -MMD -MP
ifneq ($(SANITIZE),)
BASE += -fsanitize=$(SANITIZE) -fno-sanitize-recover=all -fno-omit-frame-pointer
SANITIZE_LDFLAGS := -fsanitize=$(SANITIZE)
endif
ifneq ($(filter thread,$(SANITIZE)),)
ifeq ($(ONEDNN),1)
$(error oneDNN uses OpenMP, which ThreadSanitizer cannot follow: build with ONEDNN=0)
endif
endif

# Products and sums are contracted to fused ones nowhere but in kernels that allow it (below): one source, one result.
CONTRACT := -ffp-contract=off
C_FLAGS = -std=c11 $(BASE) $(C_WARNINGS) $(DEFINES) $(CPPFLAGS) $(CFLAGS)
LIB_FLAGS = $(C_FLAGS) $(LIB_WARNINGS) $(CONTRACT) -pthread $(OPENMP) -Iinclude -Ilib $(OPENBLAS_CFLAGS)
KERNEL_FLAGS = $(C_FLAGS) $(LIB_WARNINGS) -fopenmp-simd -Iinclude -Ilib
TEST_FLAGS = $(C_FLAGS) $(CONTRACT) -pthread -Iinclude -Ilib -Itests
EXAMPLE_FLAGS = $(C_FLAGS) $(CONTRACT) -Iinclude
CXX_FLAGS = -std=c++17 $(BASE) $(if $(SANITIZE),-fno-sanitize=vptr) $(WARNINGS) $(CPPFLAGS) $(CXXFLAGS) -Iinclude
LIBRARIES := -lcjson -lz $(ONEDNN_LIBS) $(OPENMP) -pthread -lm
# Without SentencePiece the driver is built all the same; its tokenize command then says what is missing.
SENTENCEPIECE_LIBS ?= $(if $(shell $(PKG_CONFIG) --exists sentencepiece 2>/dev/null && echo yes),-lsentencepiece)

# ---- Sources --------------------------------------------------------------------------------------------------------

LIB_SOURCES := $(wildcard $(LAYERS:%=lib/%/*.c))
KERNEL_SOURCES := $(if $(filter cpu,$(LAYERS)),$(wildcard lib/cpu/kernels/*.c))
# Kernels whose results must have the same bits in every instruction set: no contraction in any of them.
EXACT_KERNELS := $(addprefix lib/cpu/kernels/,update.c penalty.c sums.c fisher_accumulate.c)
ifneq ($(filter x86_64%,$(MACHINE)),)
INSTRUCTION_SETS := portable avx2 avx512
else
INSTRUCTION_SETS := portable
endif
FLAGS_portable :=
FLAGS_avx2 := -mavx2 -mfma -mf16c
FLAGS_avx512 := -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mf16c -mprefer-vector-width=512

CPT_SOURCES := $(wildcard examples/cpt/*.c examples/cpt/*.cc)
SUPPORT_SOURCES := $(wildcard tests/support/*.c)
TEST_SOURCES := $(wildcard tests/*/test_*.c)
TEST_SCRIPTS := $(wildcard tests/*/test_*.sh)
BENCH_SOURCES := $(wildcard bench/*.c)
BENCH_SUPPORT := $(wildcard bench/support/*.c)
# Areas whose tests see what a user sees: the public header and libewc.so. The others reach into the library.
PUBLIC_AREAS := api driver

LIB_OBJECTS := $(LIB_SOURCES:%.c=$(BUILD)/%.o) \
	$(foreach set,$(INSTRUCTION_SETS),$(KERNEL_SOURCES:%.c=$(BUILD)/%.$(set).o))
CPT_OBJECTS := $(patsubst %.cc,$(BUILD)/%.o,$(CPT_SOURCES:%.c=$(BUILD)/%.o))
SUPPORT_OBJECTS := $(SUPPORT_SOURCES:%.c=$(BUILD)/%.o)
TEST_PROGRAMS := $(TEST_SOURCES:%.c=$(BUILD)/%)
PUBLIC_TESTS := $(foreach area,$(PUBLIC_AREAS),$(filter $(BUILD)/tests/$(area)/%,$(TEST_PROGRAMS)))
INTERNAL_TESTS := $(filter-out $(PUBLIC_TESTS),$(TEST_PROGRAMS))
HOT_LOOPS := $(BUILD)/tests/instructions/hot_loops
BENCH_PROGRAMS := $(BENCH_SOURCES:bench/%.c=$(BUILD)/bench-%)
BENCH_SCALING := $(BUILD)/bench-scaling
CPT := $(if $(CPT_SOURCES),$(BUILD)/ewc-cpt)

STATIC := $(BUILD)/libewc.a
SHARED := $(BUILD)/libewc.so.$(VERSION)
SONAME := libewc.so.$(VERSION_MAJOR)
INTERNAL := $(BUILD)/internal/libewc-objects.a
BLAS := $(BUILD)/internal/blas.o
TEST_BLAS := $(BUILD)/internal/libewc-blas.so

# One short line per command; V=1 shows the commands themselves.
ifeq ($(V),1)
say = @:
Q :=
else
say = @printf '  %-5s %s\n' $(1) $(patsubst $(BUILD)/%,%,$@)
Q := @
endif

# ---- Building -------------------------------------------------------------------------------------------------------

.PHONY: all
all: $(STATIC) $(SHARED) $(CPT) ## Build the static and the shared library and the driver ewc-cpt (default)

# A file that changes only when its contents would: what depends on it is rebuilt when flags or file lists change.
define update_if_changed
@mkdir -p $(@D); printf '%s\n' '$(1)' | cmp -s - $@ || printf '%s\n' '$(1)' > $@
endef
.PHONY: FORCE
FORCE:
$(BUILD)/flags: FORCE
	$(call update_if_changed,$(CC) $(LIB_FLAGS) $(CXX) $(CXX_FLAGS))
$(BUILD)/internal/list: FORCE
	$(call update_if_changed,$(LIB_OBJECTS:$(BUILD)/%=%))
$(BUILD)/internal/support-list: FORCE
	$(call update_if_changed,$(SUPPORT_OBJECTS:$(BUILD)/%=%))

$(BUILD)/lib/%.o: lib/%.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(LIB_FLAGS) -c $< -o $@

define kernel_rule
$(BUILD)/lib/cpu/kernels/%.$(1).o: lib/cpu/kernels/%.c $(BUILD)/flags
	@mkdir -p $$(@D)
	$$(call say,CC)
	$$(Q)$$(CC) $$(KERNEL_FLAGS) $$(FLAGS_$(1)) -DEWCI_ISA=$(1) \
		$$(if $$(filter $$<,$$(EXACT_KERNELS)),-ffp-contract=off,-ffp-contract=fast) -c $$< -o $$@
endef
$(foreach set,$(INSTRUCTION_SETS),$(eval $(call kernel_rule,$(set))))

$(BUILD)/examples/%.o: examples/%.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(EXAMPLE_FLAGS) -c $< -o $@

$(BUILD)/examples/%.o: examples/%.cc $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CXX)
	$(Q)$(CXX) $(CXX_FLAGS) -c $< -o $@

$(BUILD)/tests/%.o: tests/%.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(TEST_FLAGS) -c $< -o $@

$(BUILD)/bench/%.o: bench/%.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(TEST_FLAGS) -Ibench $(OPENBLAS_CFLAGS) -c $< -o $@

# All objects of the library, hidden symbols reachable: for the tests and benchmarks of internals.
$(INTERNAL): $(LIB_OBJECTS) $(BUILD)/internal/list
	@mkdir -p $(@D)
	@rm -f $@
	$(Q)$(AR) rcs $@ $(LIB_OBJECTS)

# The needed part of OpenBLAS as one object. getenv is replaced inside it by lib/cpu/openblas_env.c, which answers
# OPENBLAS_CORETYPE from the processor's own description, and its buffers are handed out under the lock of
# lib/cpu/openblas_lock.c; all symbols but the few called are local, so that neither the host's BLAS nor its threads and
# settings are touched.
BLAS_WRAPPERS := $(BUILD)/lib/cpu/openblas_env.o $(BUILD)/lib/cpu/openblas_lock.o
BLAS_WRAPPED := getenv blas_memory_alloc blas_memory_free
$(BLAS): $(BLAS_WRAPPERS) $(OPENBLAS_A) Makefile
	@mkdir -p $(@D)
	@test -f "$(OPENBLAS_A)" || { echo "The archive of the serial OpenBLAS was not found: install" \
		"libopenblas-serial-dev (./bootstrap.sh deps) or set OPENBLAS_A=/path/libopenblas.a" >&2; exit 1; }
	$(call say,LD)
	$(Q)$(LD) -r $(BLAS_WRAPPED:%=--wrap=%) $(BLAS_SYMBOLS:%=-u %) -o $@.all $(BLAS_WRAPPERS) $(OPENBLAS_A)
	$(Q)$(OBJCOPY) -w $(BLAS_SYMBOLS:%=-G %) -G 'ewci_*' $@.all $@
	@rm -f $@.all

PRODUCT_OBJECTS = $(filter-out $(BLAS_WRAPPERS),$(LIB_OBJECTS)) $(BLAS)

$(SHARED): $(LIB_OBJECTS) $(BLAS) lib/libewc.map $(BUILD)/internal/list
	$(call say,LD)
	$(Q)$(CC) -shared $(LDFLAGS) $(SANITIZE_LDFLAGS) -Wl,-soname,$(SONAME) -Wl,--version-script=lib/libewc.map \
		-Wl,--exclude-libs,ALL -Wl,--gc-sections -Wl,-z,relro,-z,now -Wl,-z,noexecstack \
		$(if $(SANITIZE),,-Wl,-z,defs) -o $@ $(PRODUCT_OBJECTS) $(LIBRARIES)
	@ln -sf $(@F) $(BUILD)/$(SONAME)
	@ln -sf $(SONAME) $(BUILD)/libewc.so

# One object in which only the public symbols are global: a program that links it can have a BLAS of its own.
$(STATIC): $(LIB_OBJECTS) $(BLAS) lib/libewc.map $(BUILD)/internal/list
	@sed -n 's/^ *\(ewc_[a-z0-9_]*\);.*/\1/p' lib/libewc.map > $(BUILD)/internal/public-symbols
	$(call say,LD)
	$(Q)$(LD) -r -o $(BUILD)/internal/libewc.o $(PRODUCT_OBJECTS)
	$(Q)$(OBJCOPY) --keep-global-symbols=$(BUILD)/internal/public-symbols $(BUILD)/internal/libewc.o
	@rm -f $@
	$(Q)$(AR) rcs $@ $(BUILD)/internal/libewc.o
	@rm -f $(BUILD)/internal/libewc.o

$(BUILD)/ewc-cpt: $(CPT_OBJECTS) $(STATIC)
	$(call say,LD)
	$(Q)$(CXX) $(LDFLAGS) $(SANITIZE_LDFLAGS) -o $@ $(CPT_OBJECTS) $(STATIC) $(SENTENCEPIECE_LIBS) $(LIBRARIES)

# ---- Tests ----------------------------------------------------------------------------------------------------------

# The private BLAS as a shared object of the build directory, so that not every test program carries 25 MB of it.
$(TEST_BLAS): $(BLAS) $(INTERNAL)
	$(call say,LD)
	$(Q)$(CC) -shared $(LDFLAGS) $(SANITIZE_LDFLAGS) -Wl,-soname,$(@F) -o $@ $(BLAS) $(INTERNAL) $(LIBRARIES)

$(BUILD)/internal/libsupport.a: $(SUPPORT_OBJECTS) $(BUILD)/internal/support-list
	@mkdir -p $(@D)
	@rm -f $@
	$(Q)$(AR) rcs $@ $(SUPPORT_OBJECTS)

RPATH = -Wl,-rpath,$(abspath $(BUILD)) -Wl,-rpath,$(abspath $(BUILD)/internal)
TEST_LIBRARIES := -lcmocka $(LIBRARIES)

$(PUBLIC_TESTS): %: %.o $(BUILD)/internal/libsupport.a $(SHARED)
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS) $(SANITIZE_LDFLAGS) -o $@ $< $(BUILD)/internal/libsupport.a -L$(BUILD) -lewc $(RPATH) $(TEST_LIBRARIES)

# Without the layer cpu there is no BLAS to link.
ifneq ($(filter lib/cpu/openblas_env.c,$(LIB_SOURCES)),)
INTERNAL_BLAS := $(TEST_BLAS)
endif
$(INTERNAL_TESTS) $(HOT_LOOPS): %: %.o $(BUILD)/internal/libsupport.a $(INTERNAL) $(INTERNAL_BLAS)
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS) $(SANITIZE_LDFLAGS) -Wl,--wrap=getenv -o $@ $< -Wl,--start-group $(BUILD)/internal/libsupport.a \
		$(INTERNAL) -Wl,--end-group $(INTERNAL_BLAS) $(RPATH) $(TEST_LIBRARIES)

$(filter $(BUILD)/tests/driver/%,$(TEST_PROGRAMS)): | $(CPT)

selected = $(if $(T),$(foreach word,$(T),$(foreach test,$(1),$(if $(findstring $(word),$(test)),$(test)))),$(1))
SELECTED_PROGRAMS = $(sort $(call selected,$(TEST_PROGRAMS)))
# Sanitizer builds are not installed: the scripts on building and installing are for the ordinary build.
SELECTED_SCRIPTS = $(sort $(call selected,$(if $(SANITIZE),$(filter-out tests/build/%,$(TEST_SCRIPTS)),$(TEST_SCRIPTS))))

# The benchmarks that scripts test.
BENCH_TESTED = $(if $(filter tests/build/test_bench.sh,$(SELECTED_SCRIPTS)),$(BUILD)/bench-step) \
	$(if $(filter tests/build/test_scaling.sh,$(SELECTED_SCRIPTS)),$(BENCH_SCALING))

.PHONY: tests
tests: $(TEST_PROGRAMS) ## Build all test programs without running them

.PHONY: check
check: $(if $(T),$(if $(SELECTED_SCRIPTS),all),all) $(SELECTED_PROGRAMS) $(BENCH_TESTED) ## Build and run the tests; T="ops/test_rope io/" runs a part
	@BUILD=$(BUILD) TEST_JOBS=$(TEST_JOBS) tests/run $(SELECTED_PROGRAMS) $(SELECTED_SCRIPTS)

.PHONY: asan
asan: ## Run the tests with AddressSanitizer and UndefinedBehaviorSanitizer in $(BUILD)/asan
	+@$(SANITIZED) BUILD=$(BUILD)/asan SANITIZE=address,undefined check

.PHONY: ubsan
ubsan: ## Run the tests with UndefinedBehaviorSanitizer alone in $(BUILD)/ubsan
	+@$(SANITIZED) BUILD=$(BUILD)/ubsan SANITIZE=undefined check

# ThreadSanitizer of GCC 12 needs address randomisation as it was when it was written; setarch turns it off.
.PHONY: tsan
tsan: ## Run the tests with ThreadSanitizer in $(BUILD)/tsan
	+@$$(setarch -R true 2>/dev/null && echo setarch -R) $(SANITIZED) BUILD=$(BUILD)/tsan SANITIZE=thread check

# Tests ask for impossible amounts of memory and expect NULL, which the sanitizers would take for a fault.
SANITIZED = env EWC_TEST_FAST=1 EWC_TEST_TIMEOUT=$${EWC_TEST_TIMEOUT:-600} UBSAN_OPTIONS=print_stacktrace=1 \
	ASAN_OPTIONS=allocator_may_return_null=1 TSAN_OPTIONS=allocator_may_return_null=1 \
	$(MAKE) --no-print-directory OPTIMIZE='-O2 -g'

VALGRIND_TEST ?= train/test_steps_fixtures
VALGRIND := valgrind -q --error-exitcode=99 --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite
.PHONY: valgrind
valgrind: $(BUILD)/tests/$(VALGRIND_TEST) ## Run one short training under valgrind
	@BUILD=$(BUILD) EWC_TEST_FAST=1 EWC_TEST_TIMEOUT=$${EWC_TEST_TIMEOUT:-600} EWC_TEST_WRAPPER='$(VALGRIND)' \
		tests/run $(BUILD)/tests/$(VALGRIND_TEST)

.PHONY: instructions
instructions: $(HOT_LOOPS) ## Count the hot loops' instructions (callgrind); UPDATE=1 makes the present counts the expected ones
	@BUILD=$(BUILD) EWC_TEST_TIMEOUT=$${EWC_TEST_TIMEOUT:-600} EWC_FLAGS='$(strip $(OPTIMIZE) $(CFLAGS))' \
		EWC_UPDATE='$(UPDATE)' tests/run tests/instructions/run.sh

.PHONY: check-transformers
check-transformers: all ## Compare with transformers live, on random configurations (needs PyTorch)
	@EWC_BUILD=$(abspath $(BUILD)) tests/transformers/run.sh

.PHONY: fixtures
fixtures: ## Make the committed test fixtures again (needs PyTorch and transformers)
	@tests/fixtures/make.sh

.PHONY: mutations
mutations: ## Break one place of the library at a time: a test must notice; MUTATIONS="--reduced" or "--only TEXT" for a part
	@BUILD=$(BUILD) ONEDNN=$(ONEDNN) tests/mutations/run.py $(MUTATIONS)

# ---- Static checks ----------------------------------------------------------------------------------------------------

FORMATTED = $(shell find include lib examples tests bench cuda -name '*.[ch]' -o -name '*.cc' -o -name '*.cu' 2>/dev/null)

.PHONY: format
format: ## Lay out all C and C++ sources with clang-format
	clang-format -i $(FORMATTED)

.PHONY: format-check
format-check: ## Fail if a source is not laid out as clang-format would
	@clang-format --dry-run -Werror $(FORMATTED) && echo 'format: clean'

.PHONY: layers
layers: ## Fail if a file includes a header of a layer above its own
	@tests/build/layers.sh .

.PHONY: lint
lint: ## Run cppcheck and clang-tidy
	@CC="$(CC)" OPENBLAS_CFLAGS="$(OPENBLAS_CFLAGS)" tests/build/lint.sh

# ---- Programs beside the tests --------------------------------------------------------------------------------------

.PHONY: demo
demo: all ## Learn Lithuanian without forgetting English: the demonstration, about two minutes
	@EWC_BUILD=$(abspath $(BUILD)) examples/demo/run.sh

.PHONY: bench
bench: $(BENCH_PROGRAMS) ## Build and run the benchmarks
	@for program in $(filter-out %/bench-step $(BENCH_SCALING),$(BENCH_PROGRAMS)); do $$program || exit 1; done
	@for shape in S M G; do $(BUILD)/bench-step --shape $$shape || exit 1; done
	@$(BENCH_SCALING)

SVG ?= $(BUILD)/scaling.svg
.PHONY: scaling
scaling: $(BENCH_SCALING) ## How a step scales: a table and a picture, SVG=build/scaling.svg; about ten minutes; SCALING="--curve length" and more
	@$(BENCH_SCALING) --json $(BUILD)/scaling.json $(SCALING)
	@python3 bench/plot.py $(BUILD)/scaling.json $(SVG)

.PHONY: bench-peer
bench-peer: $(BUILD)/bench-step ## Time a step beside transformers and PyTorch; INSTALL=1 gets them, PEER="--shapes S" and more: bench/peer/compare.py
	@EWC_BUILD=$(abspath $(BUILD)) INSTALL=$(INSTALL) bench/peer/run.sh $(PEER)

$(BENCH_PROGRAMS): $(BUILD)/bench-%: $(BUILD)/bench/%.o $(BENCH_SUPPORT:%.c=$(BUILD)/%.o) $(INTERNAL) $(TEST_BLAS)
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS) $(SANITIZE_LDFLAGS) -Wl,--wrap=getenv -o $@ $(filter %.o,$^) $(INTERNAL) $(TEST_BLAS) $(RPATH) \
		$(LIBRARIES)

# ---- Installation ---------------------------------------------------------------------------------------------------

INSTALLED_LIBRARY = $(DESTDIR)$(LIBDIR)

.PHONY: install
install: all ## Install header, libraries, pkg-config file and ewc-cpt under DESTDIR and PREFIX
	install -d $(DESTDIR)$(PREFIX)/include $(INSTALLED_LIBRARY)/pkgconfig $(DESTDIR)$(PREFIX)/bin
	install -m 644 include/libewc.h $(DESTDIR)$(PREFIX)/include/
	install -m 644 $(STATIC) $(INSTALLED_LIBRARY)/
	install -m 755 $(SHARED) $(INSTALLED_LIBRARY)/
	ln -sf $(notdir $(SHARED)) $(INSTALLED_LIBRARY)/$(SONAME)
	ln -sf $(SONAME) $(INSTALLED_LIBRARY)/libewc.so
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@VERSION@|$(VERSION)|' \
		-e 's|@ONEDNN_LIBS@|$(ONEDNN_LIBS)|' lib/libewc.pc.in \
		> $(INSTALLED_LIBRARY)/pkgconfig/libewc.pc
	$(if $(CPT),install -m 755 $(CPT) $(DESTDIR)$(PREFIX)/bin/)

.PHONY: uninstall
uninstall: ## Remove what install put there
	rm -f $(DESTDIR)$(PREFIX)/include/libewc.h $(INSTALLED_LIBRARY)/libewc.a $(INSTALLED_LIBRARY)/$(notdir $(SHARED)) \
		$(INSTALLED_LIBRARY)/$(SONAME) $(INSTALLED_LIBRARY)/libewc.so $(INSTALLED_LIBRARY)/pkgconfig/libewc.pc \
		$(DESTDIR)$(PREFIX)/bin/ewc-cpt

# ---- Help -----------------------------------------------------------------------------------------------------------

.PHONY: help
help: ## List the targets
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/\1\t\2/p' Makefile | while IFS=$$'\t' read -r name text; do \
		printf '  make %-20s %s\n' "$$name" "$$text"; done
	@echo
	@echo 'Variables: BUILD=build PREFIX=/usr/local DESTDIR= WERROR=1 V=1 T=tests TEST_JOBS=2 OPENBLAS_A=libopenblas.a'

.PHONY: clean
clean: ## Remove the build directory
	rm -rf $(BUILD)

-include $(shell find $(BUILD) -path $(BUILD)/demo -prune -o -type f -name '*.d' -print 2>/dev/null)
