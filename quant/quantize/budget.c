#include "budget.h"

#include "encode.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SAMPLES_MOST = 32, /* costs need not be known as well as numbers */
    MEMBERS = 3,
    AS_IS = 1 + FINER_MOST,
    LEVELS /* as planned, the finer formats, as it is */
};

static bool is_candidate(const struct output *o)
{
    return o->is_encoded || o->is_finer;
}

static double weights_of(const struct output *o)
{
    return (double)o->from->dim[0] * (double)o->from->dim[1];
}

/* Of all that the recipe converts, as it is planned now. */
static double bits_of(const struct quantize_plan *plan)
{
    double bytes = 0, weights = 0;
    for (int32_t i = 0; i < plan->n; i++)
        if (is_candidate(&plan->output[i])) {
            bytes += (double)output_bytes(&plan->output[i]);
            weights += weights_of(&plan->output[i]);
        }
    return bytes * 8 / weights;
}

int32_t budget_check(const struct quantize_plan *plan, const struct quantize_params *params,
                     struct err *err)
{
    const double least = bits_of(plan);
    if (least <= params->budget)
        return INFLIGHT_OK;
    return err_set(err, INFLIGHT_E_ARG,
                   "--budget %g: matrices of %s have %.4f bits a weight, which is the least",
                   params->budget, params->recipe->name, least);
}

/* ---- Costs */

/* Of the weights alone. */
static int32_t measure_output(struct encoder *encoder, struct output *o,
                              const struct calibration_source *source, struct err *err)
{
    for (int32_t level = 0; level < AS_IS; level++) {
        struct output trial = *o;
        const enum fmt fmt = level ? plan_finer(o, level) : o->packing.fmt;
        if (fmt == FMT_COUNT)
            continue;
        plan_format(&trial, fmt, source->params);
        if (encoder_run(encoder, &source->checkpoint->tensors, &trial, err))
            return err->code;
        o->cost[level] = trial.error * trial.error;
    }
    return INFLIGHT_OK;
}

/* What is not known by samples. */
static int32_t measure_rest(struct quantize_plan *plan, const struct calibration_source *source,
                            struct err *err)
{
    struct encoder encoder;
    int32_t rc = INFLIGHT_OK;
    uint64_t done = 0;
    encoder_init(&encoder, source->threads);
    for (int32_t i = 0; i < plan->n && !rc; i++) {
        struct output *o = &plan->output[i];
        if (o->is_encoded && o->cost[0] < 0)
            rc = measure_output(&encoder, o, source, err);
        done += o->from->bytes;
        progress_show(source->progress, done);
    }
    encoder_release(&encoder);
    return rc;
}

static int32_t measure_by_samples(const struct calibration_source *source, struct err *err)
{
    struct calibration *calibration = NULL;
    struct calibration_source copy = *source;
    struct samples some;
    struct arena arena;
    arena_init(&arena, &mem_system);
    int32_t rc = samples_some(&some, source->samples, SAMPLES_MOST, &arena, err);
    copy.samples = &some;
    copy.is_measured = true;
    if (!rc)
        rc = calibration_open(&calibration, &copy, err);
    if (!rc)
        rc = calibration_reach(calibration, LAYER_HEAD, err);
    calibration_close(calibration);
    arena_release(&arena);
    return rc;
}

/* ---- Choice */

struct unit {
    struct output *member[MEMBERS];
    int32_t n, level;
    double bytes[LEVELS], cost[LEVELS]; /* of all members; bytes 0: there is no such level */
};

static const char *last_word(const char *module)
{
    const char *dot = strrchr(module, '.');
    return dot ? dot + 1 : module;
}

/* Which of the matrices that are multiplied as one it is of; 0: none. */
static int family_of(const char *word)
{
    static const char *const families[][MEMBERS + 1] = {
        {"q_proj", "k_proj", "v_proj"}, {"gate_proj", "up_proj"}, {"w1", "w3"}};
    for (size_t f = 0; f < COUNT_OF(families); f++)
        for (int i = 0; families[f][i]; i++)
            if (strcmp(word, families[f][i]) == 0)
                return (int)f + 1;
    return 0;
}

static bool go_together(const struct output *a, const struct output *b)
{
    const char *word = last_word(a->module), *other = last_word(b->module);
    const int family = family_of(word);
    return a->layer == b->layer && family && family == family_of(other) &&
           word - a->module == other - b->module &&
           strncmp(a->module, b->module, (size_t)(word - a->module)) == 0;
}

static void add_member(struct unit *u, struct output *o, const struct quantize_params *params)
{
    u->member[u->n++] = o;
    u->bytes[AS_IS] += (double)o->from->bytes;
    for (int32_t level = 0; level < AS_IS; level++) {
        struct output trial = *o;
        const enum fmt fmt = level ? plan_finer(o, level) : o->packing.fmt;
        if (fmt == FMT_COUNT)
            continue;
        plan_format(&trial, fmt, params);
        u->bytes[level] += (double)output_bytes(&trial);
        u->cost[level] += o->cost[level];
    }
}

static int32_t find_units(const struct quantize_plan *plan, const struct quantize_params *params,
                          struct unit *unit)
{
    int32_t n = 0;
    for (int32_t i = 0; i < plan->n; i++) {
        struct output *o = &plan->output[i];
        int32_t at = 0;
        if (!o->is_encoded)
            continue;
        while (at < n && !(unit[at].n < MEMBERS && go_together(unit[at].member[0], o)))
            at++;
        n += at == n;
        add_member(&unit[at], o, params);
    }
    return n;
}

/* The step to a finer level that gains most for its bytes, of those that there is room for. */
static struct unit *best_step(struct unit *unit, int32_t n, double room, int32_t *level)
{
    struct unit *best = NULL;
    double most = 0;
    for (int32_t i = 0; i < n; i++) {
        struct unit *u = &unit[i];
        for (int32_t l = u->level + 1; l < LEVELS; l++) {
            const double bytes = u->bytes[l] - u->bytes[u->level];
            const double gain = (u->cost[u->level] - u->cost[l]) / bytes;
            if (u->bytes[l] > 0 && bytes > 0 && bytes <= room && gain > most) {
                most = gain;
                best = u;
                *level = l;
            }
        }
    }
    return best;
}

static void take_level(const struct unit *u, const struct quantize_params *params)
{
    for (int32_t i = 0; i < u->n && u->level; i++) {
        struct output *o = u->member[i];
        o->is_finer = true;
        o->planned = o->packing.fmt;
        o->finer_level = u->level;
        if (u->level < AS_IS) {
            plan_format(o, plan_finer(o, u->level), params);
        } else {
            o->is_encoded = false;
            o->is_kept = true;
        }
    }
}

static int32_t choose(struct quantize_plan *plan, const struct quantize_params *params,
                      struct err *err)
{
    struct unit *unit = calloc((size_t)plan->n, sizeof *unit);
    if (!unit)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for the costs of %d tensors", plan->n);
    const int32_t n = find_units(plan, params, unit);
    double room = 0;
    for (int32_t i = 0; i < n; i++) {
        room -= unit[i].bytes[0];
        for (int32_t j = 0; j < unit[i].n; j++)
            room += params->budget / 8 * weights_of(unit[i].member[j]);
    }
    int32_t level = 0;
    for (struct unit *u; (u = best_step(unit, n, room, &level)) != NULL; u->level = level)
        room -= u->bytes[level] - u->bytes[u->level];
    for (int32_t i = 0; i < n; i++)
        take_level(&unit[i], params);
    free(unit);
    plan_place(plan);
    return plan->n_encoded
               ? INFLIGHT_OK
               : err_set(err, INFLIGHT_E_ARG, "--budget %g: every matrix would stay as it is",
                         params->budget);
}

int32_t budget_spend(struct quantize_plan *plan, const struct calibration_source *source,
                     struct err *err)
{
    int32_t rc = INFLIGHT_OK;
    progress_begin(source->progress, "measuring", "B", plan->from_bytes, source->is_quiet);
    if (source->samples)
        rc = measure_by_samples(source, err);
    if (!rc)
        rc = measure_rest(plan, source, err);
    progress_end(source->progress);
    return rc ? rc : choose(plan, source->params, err);
}

/* ---- Report */

static enum fmt format_of(const struct output *o)
{
    return o->is_encoded ? o->packing.fmt : o->from->fmt;
}

/* What is left of its cost. */
static double cost_left(const struct output *o)
{
    return o->is_encoded ? o->cost[o->finer_level] : 0;
}

static int32_t count_finer(const struct quantize_plan *plan)
{
    int32_t n = 0;
    for (int32_t i = 0; i < plan->n; i++)
        n += plan->output[i].is_finer;
    return n;
}

void budget_print(const struct quantize_plan *plan, const struct quantize_params *params)
{
    (void)printf("%d matrices are finer by the budget of %g bits a weight, of which %.4f are used; "
                 "their %s\n",
                 count_finer(plan), params->budget, bits_of(plan),
                 quantize_calibrates(params) ? "changes of the hidden state, in parts of it"
                                             : "relative errors");
    for (int32_t i = 0; i < plan->n; i++) {
        const struct output *o = &plan->output[i];
        if (o->is_finer)
            (void)printf("  %-48s %-8s -> %-8s %9.5f -> %.5f\n", o->module,
                         fmt_info[o->planned].name, fmt_info[format_of(o)].name, sqrt(o->cost[0]),
                         sqrt(cost_left(o)));
    }
}

json_t *budget_describe(const struct quantize_plan *plan, const struct quantize_params *params)
{
    json_t *finer = json_array();
    for (int32_t i = 0; i < plan->n; i++) {
        const struct output *o = &plan->output[i];
        if (o->is_finer)
            (void)json_array_append_new(
                finer, json_pack("{s:s, s:s, s:s, s:f, s:f}", "module", o->module, "instead_of",
                                 fmt_info[o->planned].name, "is", fmt_info[format_of(o)].name,
                                 "cost", sqrt(o->cost[0]), "cost_left", sqrt(cost_left(o))));
    }
    return json_pack("{s:f, s:f, s:s, s:o}", "bits", params->budget, "used", bits_of(plan),
                     "cost_of", quantize_calibrates(params) ? "hidden states" : "weights", "finer",
                     finer);
}
