/* What the larger examples share: the command line, opening an engine with a progress
 * line, and closing it. */
#pragma once

#include "inflight_load.h"

#include <stdbool.h>
#include <stdio.h>

struct host {
    inflight_library library;
    const inflight_api *api; /* of library */
    inflight_engine *engine;
};

/* Options that every example takes; the others are its own. With "-" what is no option comes as
 * option 1, and so is refused. */
#define HOST_OPTIONS "-hl:m:c:"
#define HOST_HELP                                                  \
    "  -m PATH  the model, a GGUF file or a Hugging Face folder\n" \
    "           (build/models/SmolLM2-135M-Instruct.Q4_1.gguf)\n"  \
    "  -c PATH  a YAML configuration, instead of -m\n"             \
    "  -l PATH  the library (build/libinflight.so.1)\n"            \
    "  -h       this text\n"

struct host_paths {
    const char *library, *model, *config; /* NULL: the default */
};

/* True if option is one of HOST_OPTIONS other than h. */
bool host_option(struct host_paths *paths, int option, const char *argument);

/* Loads the library, opens an engine and waits until the model is ready. On failure says
 * why on stderr. */
bool host_open(struct host *host, const struct host_paths *paths);
void host_close(struct host *host);

/* The sentence of the last failure, on stderr. */
void host_complain(const struct host *host, const char *what);

/* A positive integer up to most; otherwise says so on stderr and returns 0. */
int host_number(const char *text, int most);

uint64_t host_clock_ns(void); /* CLOCK_MONOTONIC, the clock of the events */
