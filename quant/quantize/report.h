/* What became of every matrix. */
#pragma once

#include "folder.h"

#define REPORT_FILE "inflight-quantize.json"

/* Before anything is written. */
void report_plan(const struct quantize_plan *plan, const struct quantize_params *params);

/* After: errors by kind of matrix, sizes, and the rate of what this run has read. */
struct run_summary {
    int32_t samples;    /* of the calibration text; 0: there was none */
    const char *device; /* that computed it */
    double seconds;
    uint64_t skipped; /* bytes of the model of which the files were there */
};
void report_print(const struct quantize_plan *plan, const struct quantize_params *params,
                  const struct run_summary *run);

/* The same of every matrix, as JSON beside the weights. */
int32_t report_write(const struct quantize_plan *plan, const struct quantize_params *params,
                     int32_t samples, const struct out_folder *out, struct err *err);
