# Inflight. `make help` lists the targets; everything built goes under $(BUILD).

BUILD   ?= build
CC      := $(if $(filter default,$(origin CC)),gcc,$(CC))
VERSION := 0.1.0
PREFIX  ?= /usr/local
PYTHON  ?= python3
SAN     ?=

WARN    := -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wstrict-prototypes -Werror
CFLAGS  ?= -O2 -g
BASE    := -std=c11 -fPIC -fvisibility=hidden -fno-math-errno -ffp-contract=off \
           -fno-strict-aliasing -DINFLIGHT_BUILD -DINFLIGHT_VERSION='"$(VERSION)"'
ALL_C   := $(BASE) $(WARN) $(CFLAGS) $(SAN)
HARDEN  := -Wl,-z,defs,-z,now,-z,relro,-z,noexecstack -Wl,--exclude-libs,ALL
STATIC  := -Wl,-Bstatic -lyaml -ljansson -lpcre2-8 -lutf8proc -Wl,-Bdynamic
LIBS    := -lm -pthread

# One source, several instruction sets: files in kernels/cpu/isa/ are compiled once per row.
ISAS         := plain avx2 avx512
ISA_plain    := -DISA=plain -DISA_PLAIN=1
ISA_avx2     := -DISA=avx2 -DISA_AVX2=1 -mavx2 -mfma -mf16c
ISA_avx512   := -DISA=avx512 -DISA_AVX512=1 -mavx512f -mavx512bw -mavx512vl -mavx512dq \
                -mavx512vnni -mfma -mf16c

SRC     := $(sort $(wildcard plugin/*.c plugin/*/*.c plugin/model/arch/*.c quant/*.c kernels/*.c \
                             kernels/cpu/*.c))
ISA_SRC := $(sort $(wildcard kernels/cpu/isa/*.c))
OBJ     := $(SRC:%.c=$(BUILD)/obj/%.o) \
           $(foreach i,$(ISAS),$(ISA_SRC:%.c=$(BUILD)/obj/%.$(i).o))

LIB     := $(BUILD)/libinflight.so.1
ARCHIVE := $(BUILD)/libinflight.a

all: $(LIB)

$(BUILD)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_C) -MMD -MP -c $< -o $@

define ISA_RULE
$(BUILD)/obj/kernels/cpu/isa/%.$(1).o: kernels/cpu/isa/%.c
	@mkdir -p $$(@D)
	$$(CC) $$(ALL_C) $$(ISA_$(1)) -MMD -MP -c $$< -o $$@
endef
$(foreach i,$(ISAS),$(eval $(call ISA_RULE,$(i))))

$(ARCHIVE): $(OBJ)
	@rm -f $@
	ar rcs $@ $^

$(LIB): $(OBJ) plugin/plugin.map
	$(CC) -shared $(CFLAGS) $(SAN) -o $@ $(OBJ) -Wl,-soname,libinflight.so.1 \
	    -Wl,--version-script,plugin/plugin.map $(HARDEN) $(STATIC) $(LIBS)
	@ln -sf libinflight.so.1 $(BUILD)/libinflight.so

# ---- Tests: each file of tests/unit, tests/op and tests/model is a program over the archive.
UNIT     := $(sort $(wildcard tests/unit/*.c tests/op/op_*.c tests/model/*.c))
UNIT_BIN := $(UNIT:tests/%.c=$(BUILD)/tests/%)

$(BUILD)/tests/%: tests/%.c tests/t.c tests/t.h $(wildcard tests/op/ref.c) $(ARCHIVE)
	@mkdir -p $(@D)
	$(CC) $(ALL_C) -Wno-missing-prototypes -Itests -I. -MMD -MP -MF $@.d $< tests/t.c \
	    $(if $(filter tests/op/% tests/model/%,$<),$(wildcard tests/op/ref.c)) \
	    -o $@ $(ARCHIVE) $(STATIC) $(LIBS)

unit: $(UNIT_BIN)
	@for t in $^; do $$t || exit 1; done

# ---- The boundary: its own tests use a stand-in engine; the validator takes any object.
VALIDATOR := $(BUILD)/bin/inflight-validator
FAKE      := $(BUILD)/tests/abi/libfake.so
FAKE_SRC  := $(wildcard plugin/abi*.c plugin/base/*.c tests/abi/fake*.c) \
             $(addprefix plugin/,instance.c live.c hooks.c pin.c thread_error.c build_info.c \
                                 queue.c ring.c ring_poll.c stream.c doorbell.c)

$(VALIDATOR): $(wildcard tests/abi/validator*.c) $(wildcard tests/abi/*.h) include/inflight.h
	@mkdir -p $(@D)
	$(CC) -std=c11 $(WARN) $(CFLAGS) $(SAN) -I. $(filter %.c,$^) -o $@ -ldl -pthread

$(BUILD)/tests/bench/abi: tests/bench/abi.c include/inflight.h
	@mkdir -p $(@D)
	$(CC) -std=c11 $(WARN) $(CFLAGS) -I. $< -o $@ -ldl -pthread

$(FAKE): $(FAKE_SRC) plugin/plugin.map \
         $(wildcard plugin/*.h plugin/*.def plugin/base/*.h tests/abi/*.h)
	@mkdir -p $(@D)
	$(CC) $(ALL_C) -I. -shared -o $@ $(FAKE_SRC) -Wl,-soname,libfake.so \
	    -Wl,--version-script,plugin/plugin.map $(if $(SAN),,$(HARDEN)) $(LIBS)

validator: $(VALIDATOR)

clean:
	rm -rf $(BUILD)

.PHONY: all unit validator clean
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
