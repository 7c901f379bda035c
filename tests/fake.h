/* A model without weights, for tests of the engine loop. Its key/value pages hold, for
 * each position, the token and a hash of all tokens up to it. A forward pass reads the
 * whole history of each sequence back through the pages it is given; logits are a
 * function of that hash. So any mistake with pages shows: as an error counted here, or
 * as another text than fake_generate says.
 *
 * The tokenizer has one id per byte below FAKE_END, and FAKE_END, which ends; the id of byte
 * FAKE_BEYOND is none of the model's. */
#pragma once

#include "plugin/model/model.h"
#include "plugin/sample.h"

#define FAKE_V      128
#define FAKE_END    127
#define FAKE_BEYOND 255

/* What the next model_open gives, and what happened. Tests reset it first. */
struct fake {
    int32_t context, pages; /* pages 0: enough for one context */
    int threaded;           /* lanes are threads of their own */
    float end_bias;         /* on the logit of FAKE_END; -100: never */
    int32_t open_status, load_status;
    int32_t fail_at;  /* the forward pass that fails, 1 is the first; 0: none */
    int32_t lost_at;  /* the same, and its device fails for ever */
    int32_t n_left;   /* devices that "auto" may go on to */
    int32_t nan_at;   /* the forward pass whose first row is all NaN */
    uint32_t step_us; /* a forward pass takes this long */
    bool no_chat;
    bool ahead; /* a device that steps are launched on; at reset: if FAKE_AHEAD is set */
    void (*on_settle)(void *user); /* called when a step that was launched is settled */
    void *user;
    int32_t n_overlapped; /* steps that were launched behind another */
    int32_t n_forward, n_errors, n_copied;
    int32_t most_sequences, most_tokens; /* of any step */
    int64_t n_computed;                  /* tokens, in all */
    char error[128];                     /* the first */
};
extern struct fake fake;

void fake_reset(void);

/* fake_text.c: those of the model. */
void fake_text_reset(void);
const struct tokenizer *fake_tokenizer(void);
const struct chat *fake_chat(void);

/* The greedy continuation of a prompt of bytes, at most max tokens, as text; returns how
 * many tokens, FAKE_END included. out: (max + 1). */
int32_t fake_generate(const char *prompt, int32_t max, char *out);
