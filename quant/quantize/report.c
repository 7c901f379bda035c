#include "report.h"

#include "budget.h"

#include <math.h>
#include <string.h>

/* Matrices whose modules end alike: "mlp.down_proj" of all layers. */
struct kind {
    const char *name;
    enum fmt fmt;
    int32_t n, n_outputs;  /* those whose errors of outputs are known */
    double squares, most;  /* of the relative errors */
    double output_squares; /* of those of outputs */
    const char *worst;
};

#define KINDS_MOST 64

static const char *last_word(const char *module)
{
    const char *dot = strrchr(module, '.');
    return dot ? dot + 1 : module;
}

static struct kind *find(struct kind *kinds, int32_t *n, const struct output *o)
{
    for (int32_t i = 0; i < *n; i++)
        if (kinds[i].fmt == o->packing.fmt && strcmp(kinds[i].name, last_word(o->module)) == 0)
            return &kinds[i];
    if (*n == KINDS_MOST)
        return NULL;
    kinds[*n] = (struct kind){.name = last_word(o->module), .fmt = o->packing.fmt};
    return &kinds[(*n)++];
}

static int32_t collect(const struct quantize_plan *plan, struct kind *kinds)
{
    int32_t n = 0;
    for (int32_t i = 0; i < plan->n; i++) {
        const struct output *o = &plan->output[i];
        struct kind *kind = o->is_encoded ? find(kinds, &n, o) : NULL;
        if (!kind)
            continue;
        kind->n++;
        kind->squares += o->error * o->error;
        kind->n_outputs += o->output_error >= 0;
        kind->output_squares += o->output_error >= 0 ? o->output_error * o->output_error : 0;
        if (o->error >= kind->most) {
            kind->most = o->error;
            kind->worst = o->module;
        }
    }
    return n;
}

/* Experts that the text does not come to. */
static void print_unread(const struct kind *kinds, int32_t n)
{
    int32_t unread = 0;
    for (int32_t i = 0; i < n; i++)
        unread += kinds[i].n - kinds[i].n_outputs;
    if (unread)
        (void)printf("%d matrices of experts that no token of the text has chosen: each number is "
                     "rounded to the nearest\n",
                     unread);
}

static void print_sizes(const struct quantize_plan *plan)
{
    char from[BYTES_TEXT], to[BYTES_TEXT];
    (void)printf("%d of %d tensors converted, %s to %s (%.1f %%)\n", plan->n_encoded, plan->n,
                 bytes_text(plan->from_bytes, from), bytes_text(plan->to_bytes, to),
                 100 * (double)plan->to_bytes / (double)plan->from_bytes);
}

void report_plan(const struct quantize_plan *plan, const struct quantize_params *params)
{
    struct kind kinds[KINDS_MOST];
    int32_t n = collect(plan, kinds);
    for (int32_t i = 0; i < n; i++)
        (void)printf("%-16s %4d x %s\n", kinds[i].name, kinds[i].n, fmt_info[kinds[i].fmt].name);
    print_sizes(plan);
    if (params->budget > 0)
        budget_print(plan, params);
}

void report_print(const struct quantize_plan *plan, const struct quantize_params *params,
                  const struct run_summary *run)
{
    struct kind kinds[KINDS_MOST];
    int32_t n = collect(plan, kinds);
    (void)printf("%-16s %6s  %-9s %14s %10s  %-40s %8s\n", "matrices", "number", "format",
                 "relative error", "largest", "in", "outputs");
    for (int32_t i = 0; i < n; i++) {
        (void)printf("%-16s %6d  %-9s %14.5f %10.5f  %-40s", kinds[i].name, kinds[i].n,
                     fmt_info[kinds[i].fmt].name, sqrt(kinds[i].squares / kinds[i].n),
                     kinds[i].most, kinds[i].worst);
        if (kinds[i].n_outputs)
            (void)printf(" %8.5f", sqrt(kinds[i].output_squares / kinds[i].n_outputs));
        (void)printf("\n");
    }
    print_sizes(plan);
    if (params->budget > 0)
        budget_print(plan, params);
    if (run->samples) {
        print_unread(kinds, n);
        (void)printf("%s with %d samples of %d tokens%s, on %s\n", method_name(params->method),
                     run->samples, params->length,
                     params->calibration ? "" : " that the model wrote", run->device);
    }
    (void)printf("%.1f s, %.3g MB/s of the model\n", run->seconds,
                 (double)(plan->from_bytes - run->skipped) * 1e-6 / run->seconds);
}

static json_t *describe(const struct output *o)
{
    json_t *matrix = json_pack("{s:s, s:s, s:s, s:I, s:f}", "module", o->module, "from",
                               fmt_info[o->from->fmt].name, "to", fmt_info[o->packing.fmt].name,
                               "bytes", (json_int_t)output_bytes(o), "relative_error", o->error);
    if (o->output_error >= 0)
        (void)json_object_set_new(matrix, "relative_output_error", json_real(o->output_error));
    return matrix;
}

int32_t report_write(const struct quantize_plan *plan, const struct quantize_params *params,
                     int32_t samples, const struct out_folder *out, struct err *err)
{
    json_t *matrices = json_array();
    for (int32_t i = 0; i < plan->n; i++) {
        const struct output *o = &plan->output[i];
        if (o->is_encoded)
            (void)json_array_append_new(matrices, describe(o));
    }
    json_t *root = json_pack("{s:s, s:s, s:s, s:I, s:I, s:o}", "version", INFLIGHT_VERSION,
                             "recipe", params->recipe->name, "method", method_name(params->method),
                             "model_bytes", (json_int_t)plan->from_bytes, "bytes",
                             (json_int_t)plan->to_bytes, "matrices", matrices);
    if (samples)
        (void)json_object_set_new(root, "calibration",
                                  json_pack("{s:i, s:i, s:b}", "samples", samples, "length",
                                            params->length, "written_by_model",
                                            params->calibration == NULL));
    if (params->budget > 0)
        (void)json_object_set_new(root, "budget", budget_describe(plan, params));
    int32_t rc = out_json(out, REPORT_FILE, root, err);
    json_decref(root);
    return rc;
}
