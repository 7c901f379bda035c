/* inflight-eval: perplexity of a model on a text, and its divergence from a reference. */
#define _GNU_SOURCE
#include "result.h"
#include "window.h"
#include "../tools/progress.h"

#include "../../kernels/kv_type.h"
#include "../../plugin/base/thread.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: inflight-eval MODEL TEXT [options]\n"
    "\n"
    "Perplexity of MODEL on the file TEXT, in windows of tokens of which the second half is\n"
    "scored. With a reference also the Kullback-Leibler divergence from it and how often both\n"
    "have the same best token. Results are printed with their 95 % intervals.\n"
    "\n"
    "  -r, --reference MODEL    compare with this model, which has the same tokenizer\n"
    "  -c, --context N          tokens of a window (512)\n"
    "  -n, --windows N          read at most N windows (all)\n"
    "  -q, --quantization NAME  convert MODEL while it is loaded: fp8, fp8_block, int8,\n"
    "                           int8_group, int4, int4_64, int4_32 (none)\n"
    "      --quantize-head      the output head too\n"
    "  -k, --kv TYPE            its keys and values: bf16, fp8, int8 (bf16)\n"
    "  -a, --activations TYPE   its activations on the CPU: int8, float (int8)\n"
    "  -d, --device NAME        auto, cpu or cuda (auto)\n"
    "  -t, --threads N          (one a core)\n"
    "  -j, --json FILE          write the result there too; - is standard output\n"
    "      --quiet              no progress, no table\n"
    "  -h, --help\n"
    "\n"
    "The reference is read as its file has it, with bf16 keys and values and float activations.\n";

/* A word of an option and what it means. */
struct word {
    const char *name;
    int32_t value;
};

static const struct word quantizations[] = {
    {"none", FMT_f32},        {"fp8", FMT_fp8},         {"fp8_block", FMT_fp8_128},
    {"int8", FMT_int8},       {"int8_group", FMT_q8_0}, {"int4", FMT_int4_128},
    {"int4_64", FMT_int4_64}, {"int4_32", FMT_int4_32}, {NULL, 0},
};
static const struct word kv_types[] = {
    {"bf16", KV_BF16}, {"fp8", KV_FP8}, {"int8", KV_INT8}, {NULL, 0}};
static const struct word activation_types[] = {{"int8", ACT_INT8}, {"float", ACT_FLOAT}, {NULL, 0}};

struct options {
    const char *model, *text, *reference, *device, *json;
    int32_t context, windows, threads;
    int32_t quantization, kv, activations;
    int quantize_head, quiet;
};

static bool read_word(const struct word *words, const char *option, const char *text, int32_t *out)
{
    for (const struct word *w = words; w->name; w++)
        if (strcmp(w->name, text) == 0) {
            *out = w->value;
            return true;
        }
    (void)fprintf(stderr, "inflight-eval: --%s %s: is none of", option, text);
    for (const struct word *w = words; w->name; w++)
        (void)fprintf(stderr, " %s", w->name);
    (void)fputc('\n', stderr);
    return false;
}

static bool read_count(const char *option, const char *text, int32_t least, int32_t most,
                       int32_t *out)
{
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (errno || *end || end == text || value < least || value > most) {
        (void)fprintf(stderr, "inflight-eval: --%s %s: is not an integer in %d .. %d\n", option,
                      text, least, most);
        return false;
    }
    *out = (int32_t)value;
    return true;
}

static bool read_option(struct options *o, int option, const char *text)
{
    switch (option) {
    case 'r':
        o->reference = text;
        return true;
    case 'c':
        return read_count("context", text, WINDOW_LEAST, 1 << 20, &o->context);
    case 'n':
        return read_count("windows", text, 1, INT32_MAX, &o->windows);
    case 'q':
        return read_word(quantizations, "quantization", text, &o->quantization);
    case 'k':
        return read_word(kv_types, "kv", text, &o->kv);
    case 'a':
        return read_word(activation_types, "activations", text, &o->activations);
    case 'd':
        o->device = text;
        return true;
    case 't':
        return read_count("threads", text, 1, 1024, &o->threads);
    case 'j':
        o->json = text;
        return true;
    default:
        return option == 0;
    }
}

/* 0: go on; otherwise the status to exit with, plus 1. */
static int read_options(struct options *o, int argc, char **argv)
{
    const struct option names[] = {{"reference", required_argument, NULL, 'r'},
                                   {"context", required_argument, NULL, 'c'},
                                   {"windows", required_argument, NULL, 'n'},
                                   {"quantization", required_argument, NULL, 'q'},
                                   {"quantize-head", no_argument, &o->quantize_head, 1},
                                   {"kv", required_argument, NULL, 'k'},
                                   {"activations", required_argument, NULL, 'a'},
                                   {"device", required_argument, NULL, 'd'},
                                   {"threads", required_argument, NULL, 't'},
                                   {"json", required_argument, NULL, 'j'},
                                   {"quiet", no_argument, &o->quiet, 1},
                                   {"help", no_argument, NULL, 'h'},
                                   {0}};
    int option;
    while ((option = getopt_long(argc, argv, "r:c:n:q:k:a:d:t:j:h", names, NULL)) >= 0) {
        if (option == 'h') {
            (void)fputs(usage, stdout);
            return 1;
        }
        if (!read_option(o, option, optarg))
            return 3;
    }
    if (argc - optind != 2) {
        (void)fputs(usage, stderr);
        return 3;
    }
    o->model = argv[optind];
    o->text = argv[optind + 1];
    return 0;
}

static int32_t open_model(struct model **out, const struct options *o, bool is_reference,
                          struct err *err)
{
    struct model_params params = {
        .path = is_reference ? o->reference : o->model,
        .device = o->device,
        .mem = &mem_system,
        .context = o->context,
        .threads = o->threads,
        .activations = is_reference ? ACT_FLOAT : o->activations,
        .kv_type = is_reference ? KV_BF16 : o->kv,
        .quantization = is_reference ? FMT_f32 : o->quantization,
        .quantize_head = !is_reference && o->quantize_head,
        .kv_tokens = o->context,
        .max_tokens = WINDOW_PASS,
        .max_rows = WINDOW_PASS,
    };
    if (model_open(out, &params, err))
        return err->code;
    if (model_context(*out) < o->context)
        return err_set(err, INFLIGHT_E_ARG, "%s has contexts of %d tokens, windows have %d",
                       params.path, model_context(*out), o->context);
    return model_load(*out, NULL, NULL, err);
}

/* Both must mean the same tokens, as far as both name them: behind a tokenizer's last token a head
 * may have rows that stand for none, which a GGUF file names and a folder does not. */
static int32_t compare_tokenizers(const struct model *a, const struct model *b, struct err *err)
{
    const struct tokenizer *x = model_tokenizer(a), *y = model_tokenizer(b);
    const int32_t V = model_hparams(a)->V, V_b = model_hparams(b)->V;
    if (V != V_b)
        return err_set(err, INFLIGHT_E_ARG, "the model has %d tokens, the reference %d", V, V_b);
    for (int32_t id = 0; id < MIN(tokenizer_n(x), tokenizer_n(y)); id++) {
        struct str p = tokenizer_piece(x, id), q = tokenizer_piece(y, id);
        if (p.len != q.len || memcmp(p.ptr, q.ptr, p.len) != 0)
            return err_set(err, INFLIGHT_E_ARG,
                           "token %d is not the same text in the model and the reference", id);
    }
    return INFLIGHT_OK;
}

static int32_t read_text(const struct options *o, const struct model *m, struct buf *tokens,
                         struct err *err)
{
    struct file file;
    struct buf scratch;
    if (file_open(&file, o->text, NULL, err))
        return err->code;
    buf_init(&scratch, &mem_system);
    const char *text = file_view(&file, 0, (size_t)file.bytes, &scratch, err);
    int32_t rc = err->code;
    if (text)
        rc = tokenizer_encode(model_tokenizer(m), (struct str){text, (size_t)file.bytes}, NULL,
                              false, tokens, err);
    buf_release(&scratch);
    file_close(&file);
    return rc ? err_prefix(err, "%s", o->text) : INFLIGHT_OK;
}

/* The start token, if the model wants one, or -1. */
static int32_t start_of(const struct model *m, struct err *err)
{
    struct buf tokens;
    int32_t start = -1;
    buf_init(&tokens, &mem_system);
    if (!tokenizer_encode(model_tokenizer(m), (struct str){"", 0}, NULL, true, &tokens, err) &&
        tokens.len == sizeof start)
        memcpy(&start, tokens.ptr, sizeof start);
    buf_release(&tokens);
    return start;
}

/* ---- Reading the text */

static int on_progress(void *user, int64_t tokens)
{
    progress_show(user, (uint64_t)tokens);
    return 0;
}

static int32_t measure(const struct options *o, struct model *model, struct model *reference,
                       const struct buf *tokens, struct result *result, struct err *err)
{
    int64_t n = (int64_t)(tokens->len / sizeof(int32_t)), windows = n / o->context;
    if (windows < 1)
        return err_set(err, INFLIGHT_E_ARG, "%s has %lld tokens, a window needs %d", o->text,
                       (long long)n, o->context);
    if (o->windows)
        windows = MIN(windows, o->windows);
    struct windows w = {.token = (const int32_t *)(const void *)tokens->ptr,
                        .length = o->context,
                        .n = (int32_t)windows,
                        .start = start_of(model, err),
                        .threads = o->threads};
    result->score.window_divergence = calloc((size_t)windows, sizeof(double));
    if (!result->score.window_divergence)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for %lld windows", (long long)windows);
    struct progress progress;
    progress_begin(&progress, "reading", "tokens", (uint64_t)(windows * o->context), o->quiet);
    int32_t rc = windows_score(&w, model, reference, &result->score, on_progress, &progress, err);
    progress_end(&progress);
    result->model = o->model;
    result->text = o->text;
    result->reference = o->reference;
    result->context = o->context;
    result->tokens = n;
    result->windows = windows;
    result->positions = result->score.loss.n;
    result->weight_bytes = model_memory(model)->weights;
    result->kv_token = model_memory(model)->kv_token;
    result->seconds = (double)(clock_ns() - progress.began_ns) * 1e-9;
    return rc;
}

static int32_t run(const struct options *o, struct result *result, struct err *err)
{
    struct model *model = NULL, *reference = NULL;
    struct buf tokens;
    buf_init(&tokens, &mem_system);
    int32_t rc = open_model(&model, o, false, err);
    if (!rc && o->reference) {
        rc = open_model(&reference, o, true, err);
        if (!rc)
            rc = compare_tokenizers(model, reference, err);
    }
    if (!rc)
        rc = read_text(o, model, &tokens, err);
    if (!rc)
        rc = measure(o, model, reference, &tokens, result, err);
    model_close(model);
    model_close(reference);
    buf_release(&tokens);
    return rc;
}

int main(int argc, char **argv)
{
    struct options o = {.device = "auto", .context = 512, .threads = cores_available()};
    struct result result = {0};
    struct err err = {0};
    int status = read_options(&o, argc, argv);
    if (status)
        return status - 1;
    bool ok = !run(&o, &result, &err);
    if (!ok)
        (void)fprintf(stderr, "inflight-eval: %s\n", err.text);
    else if (!o.quiet)
        result_print(&result);
    if (ok && o.json)
        ok = result_write(&result, o.json);
    free(result.score.window_divergence);
    return ok ? 0 : 1;
}
