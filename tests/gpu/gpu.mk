# The simulated GPU: its library, and the tests of its parts. Included by the top Makefile, whose
# BUILD, CC, WARN and Q it uses; alone: make -f tests/gpu/gpu.mk gpu-all

BUILD ?= build
CC    := $(if $(filter default,$(origin CC)),gcc,$(CC))
CXX   := $(if $(filter default,$(origin CXX)),g++,$(CXX))
WARN  ?= -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wstrict-prototypes -Werror
Q     ?= $(if $(V),,@)

NVCC      ?= $(shell command -v nvcc 2>/dev/null)
CUDA_HOME ?= $(firstword $(if $(NVCC),$(abspath $(dir $(NVCC))/..)) /usr/local/cuda)

# Handlers are loops over 32 lanes, for the compiler to make vectors of. cuda.h is not ours to
# warn about.
GPU_CFLAGS ?= -O3 -g1
GPU_C      := -std=c11 -march=native -ffp-contract=off -fno-math-errno -D_GNU_SOURCE -fPIC \
              -fvisibility=hidden $(WARN) $(GPU_CFLAGS) $(SAN) -isystem $(CUDA_HOME)/include
GPU_LIBS   := -lm -pthread -ldl
GPU_SRC    := $(sort $(filter-out tests/gpu/test_% tests/gpu/cublaslt%,$(wildcard tests/gpu/*.c)))
GPU_OBJ    := $(GPU_SRC:%.c=$(BUILD)/obj/%.o)
GPU_TESTS  := $(patsubst %.c,$(BUILD)/%,$(sort $(wildcard tests/gpu/test_*.c)))
GPU_CUDA   := $(BUILD)/gpu/libcuda.so.1
GPU_LT_SRC := $(sort $(wildcard tests/gpu/cublaslt*.c))
GPU_LT     := $(BUILD)/gpu/libcublasLt.so.13

$(BUILD)/obj/tests/gpu/%.o: tests/gpu/%.c
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC  $<")
	$(Q)$(CC) $(GPU_C) -MMD -MP -c $< -o $@

# Functions that cuda.h and gpu.h declare are the only ones to be seen.
$(GPU_CUDA): $(GPU_OBJ)
	@mkdir -p $(@D)
	$(if $(V),,@echo "  LD  $@")
	$(Q)$(CC) -shared $(SAN) -o $@ $^ -Wl,-soname,libcuda.so.1 $(if $(SAN),,-Wl,-z,defs) $(GPU_LIBS)

# And of cublasLt.h. It finds the driver's stand-in as the real one finds the driver.
$(GPU_LT): $(GPU_LT_SRC:%.c=$(BUILD)/obj/%.o)
	@mkdir -p $(@D)
	$(if $(V),,@echo "  LD  $@")
	$(Q)$(CC) -shared $(SAN) -o $@ $^ -Wl,-soname,libcublasLt.so.13 $(if $(SAN),,-Wl,-z,defs) $(GPU_LIBS)

# Parts are tested from the inside, the driver through its library.
$(filter $(BUILD)/tests/gpu/test_driver% $(BUILD)/tests/gpu/test_cublaslt,$(GPU_TESTS)): \
        $(BUILD)/tests/gpu/%: tests/gpu/%.c tests/gpu/test_driver.h tests/gpu/test_driver.def \
        tests/t.c $(GPU_CUDA) $(GPU_LT)
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC  $<")
	$(Q)$(CC) $(GPU_C) -Itests -DGPU_LIBRARY='"$(abspath $(GPU_CUDA))"' -MMD -MP -MF $@.d \
	    -DCUBLASLT_LIBRARY='"$(abspath $(GPU_LT))"' tests/t.c $< -o $@ -ldl -pthread

# What arithmetic must give: NVIDIA's own headers, which the host can call.
$(BUILD)/obj/tests/gpu/oracle.o: tests/gpu/oracle.cpp
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CXX $<")
	$(Q)$(CXX) -O1 -g1 $(SAN) -isystem $(CUDA_HOME)/include -MMD -MP -c $< -o $@

$(BUILD)/tests/gpu/test_alu: $(BUILD)/obj/tests/gpu/oracle.o
$(BUILD)/tests/gpu/test_alu: GPU_LIBS += -lstdc++

$(BUILD)/tests/gpu/test_%: tests/gpu/test_%.c tests/t.c $(GPU_OBJ)
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC  $<")
	$(Q)$(CC) $(GPU_C) -Itests -I. -MMD -MP -MF $@.d tests/t.c $< $(filter %.o,$^) -o $@ $(GPU_LIBS)

gpu-all: $(GPU_CUDA) $(GPU_LT) $(GPU_TESTS)
.PHONY: gpu-all
-include $(GPU_OBJ:.o=.d)
