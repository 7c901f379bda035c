#include "result.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static json_t *mean_json(const struct tally *t)
{
    json_t *object = json_pack("{s:f}", "mean", tally_mean(t));
    double error = tally_error(t);
    (void)json_object_set_new(object, "error95", error < 0 ? json_null() : json_real(error));
    return object;
}

/* e^mean, and the ends of the interval through the same function. */
static json_t *exp_json(const struct tally *loss)
{
    double mean = tally_mean(loss), error = tally_error(loss);
    json_t *object = json_pack("{s:f}", "value", exp(mean));
    if (error >= 0)
        (void)json_object_set_new(object, "interval95",
                                  json_pack("[f, f]", exp(mean - error), exp(mean + error)));
    return object;
}

/* With the means of the windows, by which two results of the same windows can be compared. */
static json_t *divergence_json(const struct score *s)
{
    json_t *object = mean_json(&s->divergence), *windows = json_array();
    for (int64_t i = 0; i < s->divergence.n_windows; i++)
        (void)json_array_append_new(windows, json_real(s->window_divergence[i]));
    (void)json_object_set_new(object, "windows", windows);
    return object;
}

static json_t *json_of(const struct result *r)
{
    json_t *root = json_pack("{s:s, s:s, s:i, s:I, s:I, s:I, s:I, s:I, s:f}", "model", r->model,
                             "text", r->text, "context", r->context, "tokens",
                             (json_int_t)r->tokens, "windows", (json_int_t)r->windows, "positions",
                             (json_int_t)r->positions, "weight_bytes", (json_int_t)r->weight_bytes,
                             "kv_bytes_per_token", (json_int_t)r->kv_token, "seconds", r->seconds);
    (void)json_object_set_new(root, "loss", mean_json(&r->score.loss));
    (void)json_object_set_new(root, "perplexity", exp_json(&r->score.loss));
    if (!r->reference)
        return root;
    (void)json_object_set_new(root, "reference", json_string(r->reference));
    (void)json_object_set_new(root, "reference_perplexity", exp_json(&r->score.reference_loss));
    (void)json_object_set_new(root, "perplexity_ratio", exp_json(&r->score.excess));
    (void)json_object_set_new(root, "kl_divergence", divergence_json(&r->score));
    (void)json_object_set_new(root, "largest_kl_divergence",
                              json_real(r->score.largest_divergence));
    (void)json_object_set_new(root, "top1_agreement", mean_json(&r->score.agreement));
    return root;
}

bool result_write(const struct result *r, const char *path)
{
    json_t *root = json_of(r);
    const size_t flags = JSON_INDENT(2) | JSON_REAL_PRECISION(9);
    bool to_stdout = strcmp(path, "-") == 0;
    int failed = to_stdout ? json_dumpf(root, stdout, flags) : json_dump_file(root, path, flags);
    if (to_stdout)
        (void)putchar('\n');
    if (failed)
        (void)fprintf(stderr, "inflight-eval: %s: cannot be written: %s\n", path, strerror(errno));
    json_decref(root);
    return !failed;
}

/* e^mean with its interval. */
static void print_exp(const char *what, const struct tally *loss)
{
    double mean = tally_mean(loss), error = tally_error(loss);
    (void)printf("%-24s %10.4f", what, exp(mean));
    if (error >= 0)
        (void)printf("   [%.4f, %.4f]", exp(mean - error), exp(mean + error));
    (void)putchar('\n');
}

static void print_mean(const char *what, const struct tally *t, double scale, const char *unit)
{
    double error = tally_error(t);
    (void)printf("%-24s %10.4f", what, tally_mean(t) * scale);
    if (error >= 0)
        (void)printf(" +- %.4f", error * scale);
    (void)printf("%s\n", unit);
}

void result_print(const struct result *r)
{
    (void)printf("%" PRId64 " positions in %" PRId64 " windows of %d tokens, %.1f s\n",
                 r->positions, r->windows, r->context, r->seconds);
    print_exp("perplexity", &r->score.loss);
    if (!r->reference)
        return;
    print_exp("perplexity, reference", &r->score.reference_loss);
    print_exp("  ratio", &r->score.excess);
    print_mean("KL divergence", &r->score.divergence, 1, " nat");
    (void)printf("%-24s %10.4f nat\n", "  the largest", r->score.largest_divergence);
    print_mean("same best token", &r->score.agreement, 100, " %");
}
