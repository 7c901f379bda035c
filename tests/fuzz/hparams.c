/* Any bytes as the config.json of a folder: it is refused with a sentence, or its numbers are of
 * use, which is all that the rest of the engine asks. */
#include "plugin/model/weights.h"

#include "folder_image.h"

#include <math.h>

static void check_numbers(const struct hparams *h)
{
    bool ok = h->L >= 1 && h->L <= LAYERS_MAX && h->H % h->K == 0 && h->dim % 2 == 0 &&
              h->dim / 2 <= FREQ_MAX && h->rotary_dim >= 2 && h->rotary_dim <= h->dim &&
              h->rotary_dim % 2 == 0 && h->V > 0 && h->eps > 0 && h->window >= 0 &&
              isfinite(h->rotary_scale) && h->rotary_scale > 0 && isfinite(h->scale) &&
              h->scale > 0 && isfinite(h->embed_scale) && h->embed_scale > 0 &&
              isfinite(h->logit_scale) && h->logit_scale > 0 && h->score_cap >= 0 &&
              h->logit_cap >= 0 && h->F >= 32 && h->context >= 16 && h->alibi_max >= 1 &&
              h->share_factor > 0 && h->dense >= 0 && h->dense_F >= 32 && h->shared_F >= 0 &&
              h->growth >= 0 && (h->growth == 0 || h->growth_from >= 1);
    ok = ok && h->near_K >= 0 && h->near_dim >= 0 && h->near_dim / 2 <= FREQ_MAX && h->P >= 0 &&
         (!h->near_K || h->H % h->near_K == 0) && h->near_dim % 2 == 0 && h->n_shared >= 0 &&
         h->n_shared < h->L && h->wide_F >= 0;
    for (int32_t l = 0; l < h->L && h->near_K; l++)
        ok = ok && hparams_kv_layer(h, l) >= 0;
    for (int32_t i = 0; i < h->rotary_dim / 2; i++)
        ok = ok && isfinite(h->freq[i]) && h->freq[i] >= 0 && isfinite(h->near_freq[i]) &&
             h->near_freq[i] >= 0;
    for (int32_t l = 0; l < h->L; l++)
        ok =
            ok && (!h->slides[l] || h->window) && (!h->slides[l] || !h->turns_twice || h->turns[l]);
    if (!ok)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    static const char header[] =
        "{\"model.language_model.norm.weight\": {\"dtype\": \"F32\", \"shape\": [1], "
        "\"data_offsets\": [0, 4]}, \"language_model.lm_head.weight\": {\"dtype\": \"F32\", "
        "\"shape\": [1], \"data_offsets\": [4, 8]}, \"visual.norm.weight\": {\"dtype\": \"F32\", "
        "\"shape\": [1], \"data_offsets\": [8, 12]}}";
    static uint8_t weights[sizeof header + 32];
    struct folder_image image = {0};
    const inflight_io io = image_io(&image);
    struct err err = {.code = INFLIGHT_OK};
    struct checkpoint c;
    struct hparams h;
    struct weights w;
    struct arena arena;

    image_put(&image, "m/config.json", bytes, n);
    image_put(&image, "m/model.safetensors", weights,
              image_safetensors(weights, sizeof weights, header, 12));
    arena_init(&arena, &mem_system);
    int32_t rc = n ? checkpoint_open(&c, "m", &io, &arena, &err) : INFLIGHT_E_IO;
    if (n && !rc) {
        rc = hparams_read(&h, &c, &err);
        if (rc ? err.code != rc || !err.text[0] : !arch_find(h.arch))
            abort();
        if (!rc)
            check_numbers(&h);
        if (!rc && !weights_open(&w, &c.tensors, &c.scheme, weights_arch(&h, &c.tensors), &h,
                                 &arena, &err))
            abort(); /* there is no embedding */
    }
    if (n)
        checkpoint_close(&c);
    arena_release(&arena);
    if (image.open)
        abort();
    return 0;
}
