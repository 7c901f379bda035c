/* What the engine makes of a model's folder, for the scripts here to compare:
 *
 *   read FOLDER ID,ID,.. [MODULE N K]..
 *
 * writes to standard output, as floats, the logits (ids, vocabulary) and then the rows (N, K) of
 * each module's matrix, with the values that its format has in memory. Activations, keys and values
 * are floats, on one thread and with the plain kernels. */
#include "kernels/cpu/cpuid.h"
#include "plugin/model/checkpoint.h"
#include "plugin/model/matrix.h"
#include "plugin/model/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOKENS 256

static _Noreturn void die(const char *what)
{
    (void)fprintf(stderr, "read: %s\n", what);
    exit(EXIT_FAILURE);
}

static void put(const float *value, size_t n)
{
    if (fwrite(value, sizeof *value, n, stdout) != n)
        die("standard output cannot be written");
}

static int32_t read_tokens(const char *text, int32_t token[TOKENS])
{
    int32_t n = 0;
    for (char *end; n < TOKENS; text = end + 1) {
        token[n++] = (int32_t)strtol(text, &end, 10);
        if (!*end)
            return n;
        if (*end != ',')
            break;
    }
    die("tokens are not up to 256 numbers with commas between them");
}

static void put_logits(const char *path, const int32_t *token, int32_t n)
{
    const struct model_params params = {.path = path,
                                        .device = "cpu",
                                        .mem = &mem_system,
                                        .context = TOKENS,
                                        .threads = 1,
                                        .isa = ISA_ID_PLAIN,
                                        .activations = ACT_FLOAT,
                                        .kv_type = KV_F32,
                                        .kv_tokens = TOKENS,
                                        .max_tokens = TOKENS,
                                        .max_rows = TOKENS};
    struct err err = {0};
    struct model *m;
    int32_t count[TOKENS];
    for (int32_t i = 0; i < TOKENS; i++)
        count[i] = i;
    struct batch_seq seq = {.n = n, .page = count};
    struct batch batch = {
        .T = n, .S = 1, .R = n, .token = token, .position = count, .seq = &seq, .row = count};
    if (model_open(&m, &params, &err) || model_load(m, NULL, NULL, &err))
        die(err.text);
    if (model_forward(m, &batch))
        die("the forward pass failed");
    for (int32_t i = 0; i < n; i++)
        put(model_logits(m, i), (size_t)model_hparams(m)->V);
    model_close(m);
}

static void put_rows(struct weight_source *source)
{
    float *value = malloc((size_t)source->K * sizeof *value);
    const int32_t step = weight_source_step(source);
    for (int32_t first = 0; first < source->N; first += step) {
        const int32_t n = MIN(step, source->N - first);
        struct weight_source rows;
        if (!value || !weight_source_rows(source, 0, first, n, &rows))
            die("rows cannot be made");
        const char *row = rows.data;
        for (int32_t i = 0; i < n; i++, row += fmt_row_bytes(rows.fmt, rows.K)) {
            fmt_decode_row(rows.fmt, row, rows.K, value);
            put(value, (size_t)rows.K);
        }
    }
    free(value);
}

static void put_matrix(struct matrix_finder *finder, const char *module, int32_t N, int32_t K)
{
    struct matrix m;
    struct matrix_reader reader;
    struct weight_source rows;
    struct err err = {0};
    char name[256];
    (void)snprintf(name, sizeof name, "%s.weight", module);
    matrix_reader_init(&reader, 1, &mem_system);
    if (matrix_find(&m, finder, name, "Linear", N, K, &err) ||
        matrix_begin(&reader, finder->tensors, &m, &rows, &err))
        die(err.text);
    (void)fprintf(stderr, "%s %s\n", module, fmt_info[m.fmt].name);
    put_rows(&rows);
    matrix_reader_close(&reader);
}

int main(int argc, char **argv)
{
    struct arena arena;
    struct checkpoint c;
    struct err err = {0};
    int32_t token[TOKENS];
    if (argc < 3 || argc % 3)
        die("usage: read FOLDER ID,ID,.. [MODULE N K]..");
    put_logits(argv[1], token, read_tokens(argv[2], token));
    arena_init(&arena, &mem_system);
    if (checkpoint_open(&c, argv[1], NULL, &arena, &err))
        die(err.text);
    struct matrix_finder finder = {
        .tensors = &c.tensors, .scheme = &c.scheme, .used = calloc(c.tensors.n, sizeof(bool))};
    buf_init(&finder.scratch, &mem_system);
    for (int i = 3; finder.used && i < argc; i += 3)
        put_matrix(&finder, argv[i], atoi(argv[i + 1]), atoi(argv[i + 2]));
    free(finder.used);
    buf_release(&finder.scratch);
    checkpoint_close(&c);
    arena_release(&arena);
    return fflush(stdout) ? EXIT_FAILURE : EXIT_SUCCESS;
}
