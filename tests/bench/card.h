/* Times the operations of the CUDA back end on a card, through the back end itself.
 *
 *   card.c         options, the table, timing
 *   card_matrix.c  linear, head, embed
 *   card_attend.c  attention */
#ifndef BENCH_CARD_H
#define BENCH_CARD_H

#include "../../kernels/cuda/cuda.h"

#define CARD_ROUNDS_MOST 31

/* What is asked for on the command line; NULL: everything. */
struct card_options {
    const char *operation, *fmt, *shape; /* parts of names, any of "a,b" */
    const char *tokens;                  /* numbers, "1,64" */
    bool is_small; /* shapes that the simulated card does in seconds: nothing is timed by these */
    bool is_csv;
    bool cublaslt; /* products of many tokens by it */
    int rounds;
    double peak_gbs, peak_tf; /* of the card; 0: not given */
};

/* A card at work. config and device are of the case that runs. */
struct card {
    struct card_options options;
    struct device_config config;
    struct device *device;
    double copy_gbs; /* read and written by copies within the device */
    size_t cold;     /* bytes that no cache holds */
};

/* One line of the table. */
struct card_case {
    const char *operation, *fmt, *shape;
    int T;            /* tokens, rows or sequences */
    double bytes;     /* that one operation must move, each once */
    double flops;     /* of one operation */
    bool is_sequence; /* measured in a captured sequence too: T sequences of one token each */
    struct batch batch;
    /* Queues operation i of a run; operations of one run take turns in cold memory. */
    int (*body)(struct lane *lane, const struct card_case *c, int i);
    const void *arg;
};

/* fmt, shape NULL, T -1: whichever. */
bool card_wants(const struct card *card, const char *operation, const char *fmt, const char *shape,
                int T);

/* Measures, and prints the line. */
void card_measure(struct card *card, const struct card_case *c);

/* Opens and closes card->device; exits with a message on failure. */
void card_open(struct card *card, const struct device_config *config);
void card_close(struct card *card);

/* Memory of the device, or an exit. card_repeat: [0, bytes) is [0, some) again and again. */
void *card_take(struct card *card, size_t bytes);
void card_give(struct card *card, const void *memory, size_t bytes);
void card_repeat(struct card *card, void *memory, size_t some, size_t bytes);
/* Floats in (-1, 1), whose upper halves and lower halves are plausible bfloat16 too. */
float *card_numbers(struct card *card, size_t bytes);

/* T sequences of one token, or one of T tokens, at `position`; freed with card_batch_free. */
struct batch card_batch(int T, bool one_each, int position, int rows);
void card_batch_free(const struct batch *batch);

/* The cases. */
void card_products(struct card *card);
void card_heads(struct card *card);
void card_embeds(struct card *card);
void card_attention(struct card *card);

#endif
