/* One scale for each matrix, and one for all that it reads. Matrices that read the same have their
 * scale in common too, since other engines join them into one.
 *
 * What a matrix reads has gone through the matrices rounded before it, also of its own half; so
 * have the keys and values. */
#include "half.h"

#include "../encode.h"
#include "../encode_fp8.h"
#include "jobs.h"

#include <math.h>
#include <string.h>

struct rounding {
    const struct matrix *m;
    float scale;
};

static void round_row(void *arg, int64_t row, int32_t thread)
{
    const struct rounding *r = arg;
    const struct packing *p = &r->m->output->packing;
    (void)thread;
    encode_fp8(r->m->W + row * p->K, p->K, r->scale,
               r->m->rows + (size_t)row * fmt_row_bytes(p->fmt, p->K));
}

/* What the tensor of a scale becomes; of inputs that are all zero any scale is right. */
static void set_scale(struct calibration *c, enum slot slot, const char *suffix, float largest)
{
    const struct quantize_plan *plan = c->source->plan;
    for (int32_t i = 0; i < plan->n; i++) {
        struct output *o = &plan->output[i];
        if (o->from != c->layers.matrix[slot].tensor)
            continue;
        for (int32_t s = 0; s < o->n_scales; s++)
            if (strcmp(o->scale[s].suffix, suffix) == 0)
                o->scale[s].value = largest > 0 ? largest / E4M3_MAX : 1;
    }
}

/* Matrices that read the same inputs. */
static int32_t static_group(struct calibration *c, const enum slot *slot, int32_t n,
                            enum input input, struct err *err)
{
    const struct moments *moments = &c->moments[input];
    float largest = 0;
    for (int32_t i = 0; i < n; i++) {
        if (!matrix_is_made(c, slot[i])) {
            if (layers_put_own(&c->layers, slot[i], err))
                return err->code;
            continue;
        }
        if (matrix_read(c, slot[i], err))
            return err->code;
        const struct packing *p = &c->matrix[slot[i]].output->packing;
        largest = fmaxf(largest, encode_largest(c->matrix[slot[i]].W, p->N * p->K));
    }
    for (int32_t i = 0; i < n; i++) {
        if (!matrix_is_made(c, slot[i]))
            continue;
        struct rounding r = {&c->matrix[slot[i]], fp8_whole_scale(largest)};
        jobs_run(c->source->threads, r.m->output->packing.N, round_row, &r);
        set_scale(c, slot[i], "input_scale", moments_largest(moments));
        if (matrix_finish(c, slot[i], moments, NULL, NULL, err))
            return err->code;
    }
    return INFLIGHT_OK;
}

int32_t static_half(struct calibration *c, const struct half *half, struct err *err)
{
    c->peaks = (struct kv_peaks){0};
    if (observe_before(c, half, err) ||
        static_group(c, half->first, half->n_first, half->before, err) ||
        observe_between(c, half, err))
        return err->code;
    if (half->second == SLOT_O) {
        const bool fused = c->layers.arch->fused;
        set_scale(c, fused ? SLOT_Q : SLOT_K, "k_scale", c->peaks.key);
        set_scale(c, fused ? SLOT_Q : SLOT_V, "v_scale", c->peaks.value);
    }
    return static_group(c, &half->second, 1, half->between, err);
}
