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
    const struct made *m;
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
static void set_scale(struct calibration *c, int32_t slot, const char *suffix, float largest)
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
static int32_t static_group(struct calibration *c, const int32_t *slot, int32_t n,
                            const struct moments *moments, struct err *err)
{
    float largest = 0;
    for (int32_t i = 0; i < n; i++) {
        if (!slot_is_made(c, slot[i])) {
            if (layers_put_own(&c->layers, slot[i], err))
                return err->code;
            continue;
        }
        if (made_read(c, slot[i], err))
            return err->code;
        const struct packing *p = &c->made[slot[i]].output->packing;
        largest = fmaxf(largest, encode_largest(c->made[slot[i]].W, p->N * p->K));
    }
    for (int32_t i = 0; i < n; i++) {
        if (!slot_is_made(c, slot[i]))
            continue;
        struct rounding r = {&c->made[slot[i]], fp8_whole_scale(largest)};
        jobs_run(c->source->threads, r.m->output->packing.N, round_row, &r);
        set_scale(c, slot[i], "input_scale", moments_largest(moments));
        if (made_finish(c, slot[i], moments, NULL, NULL, err))
            return err->code;
    }
    return INFLIGHT_OK;
}

/* Experts that no token of the text has chosen are taken to read as much as any. */
static int32_t static_second(struct calibration *c, const struct half *half, struct err *err)
{
    const int32_t step = half_step(c, half), n = half->n_second;
    float largest = 0;
    for (int32_t i = 0; i < n; i++) {
        const int32_t at = i - i % step;
        if (i == at && observe_between(c, half, at, err))
            return err->code;
        const struct moments *moments = moments_of_second(c, half, at, i);
        if (layers_is_expert(half->second[i]))
            largest = fmaxf(largest, moments_largest(moments));
        if (static_group(c, &half->second[i], 1, moments, err))
            return err->code;
    }
    for (int32_t i = 0; i < n; i++)
        if (slot_is_made(c, half->second[i]) && c->made[half->second[i]].output->output_error < 0)
            set_scale(c, half->second[i], "input_scale", largest);
    return INFLIGHT_OK;
}

int32_t static_half(struct calibration *c, const struct half *half, struct err *err)
{
    const int32_t share = half_share(half);
    c->peaks = (struct kv_peaks){0};
    if (observe_before(c, half, err))
        return err->code;
    for (int32_t i = 0; i < half->n_first; i += share)
        if (static_group(c, &half->first[i], share, moments_of_first(c, half), err))
            return err->code;
    if (half_put_second(c, half, err) || static_second(c, half, err))
        return err->code;
    if (half->between == INPUT_O) {
        const bool fused = c->layers.arch->fused;
        set_scale(c, fused ? SLOT_Q : SLOT_K, "k_scale", c->peaks.key);
        set_scale(c, fused ? SLOT_Q : SLOT_V, "v_scale", c->peaks.value);
    }
    return INFLIGHT_OK;
}
