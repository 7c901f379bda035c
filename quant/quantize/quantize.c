/* inflight-quantize: a Hugging Face folder becomes one whose matrices have 8 or 4 bits, which
 * Inflight and other engines load. */
#define _GNU_SOURCE
#include "budget.h"
#include "modelopt.h"
#include "options.h"
#include "report.h"
#include "shard.h"

#include "../../plugin/base/checksum.h"
#include "../../plugin/model/arch.h"

#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

/* Which version of a file it is: length, and when it was changed, in nanoseconds. folder NULL: path
 * is whole, else its last part is of that folder. */
static json_t *stamp_of(const char *folder, const char *path)
{
    char whole[4096];
    struct stat st = {0};
    const char *name = folder && strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    int n = folder ? snprintf(whole, sizeof whole, "%s/%s", folder, name)
                   : snprintf(whole, sizeof whole, "%s", path);
    if (n > 0 && (size_t)n < sizeof whole)
        (void)stat(whole, &st);
    return json_pack("{s:s, s:I, s:I}", "file", name, "bytes", (json_int_t)st.st_size, "changed",
                     (json_int_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec);
}

/* What samples are of. A model writes others on another device. */
static json_t *describe_text(const struct options *o, const struct samples *s)
{
    char sum[17];
    if (o->params.calibration)
        return stamp_of(NULL, o->params.calibration);
    (void)snprintf(sum, sizeof sum, "%016" PRIx64,
                   checksum(s->token, (size_t)s->n * (size_t)s->length * sizeof *s->token));
    return json_pack("{s:s}", "written", sum);
}

/* What a run is: with the same, files of a run that was stopped are those of this one. */
static json_t *describe_run(const struct options *o, const struct calibration_source *source,
                            const struct calibration *calibration)
{
    const struct checkpoint *c = source->checkpoint;
    json_t *keep = json_array();
    for (int32_t i = 0; i < o->params.n_keep; i++)
        (void)json_array_append_new(keep, json_string(o->keep[i]));
    json_t *files = json_array();
    for (int32_t i = 0; i < c->tensors.n_files; i++)
        (void)json_array_append_new(files, stamp_of(o->model, c->tensors.file[i].path));
    json_t *run =
        json_pack("{s:s, s:s, s:s, s:i, s:b, s:b, s:o, s:o}", "version", INFLIGHT_VERSION, "model",
                  o->model, "recipe", o->params.recipe->name, "group",
                  o->params.recipe->fmt == FMT_int4_128 ? o->params.group : 0, "symmetric",
                  o->symmetric, "head", o->head, "keep", keep, "files", files);
    (void)json_object_set_new(run, "modelopt", json_boolean(o->params.convention == MODELOPT));
    if (o->params.budget > 0)
        (void)json_object_set_new(run, "budget", json_real(o->params.budget));
    if (calibration)
        (void)json_object_set_new(
            run, "calibration",
            json_pack("{s:s, s:o, s:i, s:i, s:b, s:i, s:i, s:s}", "method",
                      method_name(o->params.method), "text", describe_text(o, source->samples),
                      "samples", o->params.samples, "length", o->params.length, "act_order",
                      o->params.act_order, "correction", (int)lroundf(o->params.correction * 1e6f),
                      "alpha", (int)lroundf(o->params.alpha * 1e6f), "device",
                      calibration_device(calibration)));
    return run;
}

static int32_t check_room(const struct quantize_plan *plan, const struct out_folder *out,
                          struct err *err)
{
    char need[BYTES_TEXT], have[BYTES_TEXT];
    uint64_t left = plan->from_bytes - shards_done(plan, out), room = out_room(out);
    double share = (double)left / (double)plan->from_bytes;
    uint64_t bytes = (uint64_t)(share * (double)plan->to_bytes);
    if (bytes <= room)
        return INFLIGHT_OK;
    return err_set(err, INFLIGHT_E_IO, "%s: %s are to be written, the disk has %s", out->partial,
                   bytes_text(bytes, need), bytes_text(room, have));
}

/* What stands beside the weights. */
static int32_t copy_others(const struct out_folder *out, const struct folder *from, struct err *err)
{
    static const char *const names[] = {"generation_config.json",
                                        "tokenizer.json",
                                        "tokenizer.model",
                                        "tokenizer_config.json",
                                        "special_tokens_map.json",
                                        "added_tokens.json",
                                        "vocab.json",
                                        "merges.txt",
                                        "chat_template.jinja",
                                        "chat_template.json",
                                        "LICENSE",
                                        "LICENSE.txt",
                                        "NOTICE"};
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (out_copy(out, from, names[i], err))
            return err->code;
    return INFLIGHT_OK;
}

static int32_t write_modelopt(const struct options *o, const struct shard_writer *writer,
                              struct err *err)
{
    json_t *root = modelopt_file(writer->plan, &o->params);
    int32_t rc = out_json(writer->out, MODELOPT_FILE, root, err);
    json_decref(root);
    return rc;
}

/* The files of a folder that writer->out is. */
static int32_t write_all(const struct options *o, const struct calibration_source *source,
                         const struct shard_writer *writer, struct err *err)
{
    const struct checkpoint *c = source->checkpoint;
    const int32_t samples = source->samples ? source->samples->n : 0;
    const struct out_folder *out = writer->out;
    json_t *config = quantize_config(writer->plan, c->whole ? c->whole : c->config, &o->params);
    int32_t rc = config ? INFLIGHT_OK : err_set(err, INFLIGHT_E_NOMEM, "no memory for config.json");
    if (!rc)
        rc = shards_write(writer, err);
    if (!rc)
        rc = shards_index(writer, err);
    if (!rc)
        rc = copy_others(out, &c->folder, err);
    if (!rc)
        rc = report_write(writer->plan, &o->params, samples, out, err);
    if (!rc && o->params.convention == MODELOPT)
        rc = write_modelopt(o, writer, err);
    if (!rc)
        rc = out_json(out, "config.json", config, err);
    if (!rc)
        rc = shards_forget_errors(writer, err);
    json_decref(config);
    return rc;
}

static int32_t write_folder(const struct options *o, const struct calibration_source *source,
                            struct quantize_plan *plan, struct calibration *calibration,
                            struct err *err)
{
    struct out_folder out;
    struct encoder encoder;
    struct progress *progress = source->progress;
    const struct checkpoint *c = source->checkpoint;
    struct shard_writer writer = {plan, &c->tensors, &out, &encoder, progress, calibration};
    json_t *run = describe_run(o, source, calibration);
    int32_t rc = out_open(&out, o->output, run, o->restart, err);
    json_decref(run);
    if (rc || (o->params.budget > 0 && budget_spend(plan, source, err)) ||
        check_room(plan, &out, err))
        return err->code;
    progress_begin(progress, o->params.recipe->name, "B", plan->from_bytes, o->quiet);
    /* Calibration runs through the layers of files that are there, too. */
    progress->skipped = calibration ? 0 : shards_done(plan, &out);
    encoder_init(&encoder, o->threads);
    rc = write_all(o, source, &writer, err);
    encoder_release(&encoder);
    progress_end(progress);
    return rc ? rc : out_finish(&out, err);
}

/* What calibration has to do with and whoever started it may not expect. */
static void say_conditions(const struct options *o, const struct samples *samples,
                           const struct calibration *calibration)
{
    const char *passed = calibration_passed(calibration);
    if (o->quiet || !calibration)
        return;
    if (*passed)
        (void)fprintf(stderr, "inflight-quantize: calibrating on %s (%s)\n",
                      calibration_device(calibration), passed);
    if (samples->n < o->params.samples)
        (void)fprintf(stderr, "inflight-quantize: %s has %d samples, %d were asked for\n",
                      o->params.calibration, samples->n, o->params.samples);
}

/* Samples are there before there is a folder: a text that cannot be used leaves none. */
static int32_t write_model(const struct options *o, const struct calibration_source *source,
                           struct quantize_plan *plan, struct err *err)
{
    const uint64_t began_ns = clock_ns();
    struct calibration *calibration = NULL;
    int32_t rc = INFLIGHT_OK;
    if (source->samples)
        rc = calibration_open(&calibration, source, err);
    if (!rc)
        say_conditions(o, source->samples, calibration);
    if (!rc)
        rc = write_folder(o, source, plan, calibration, err);
    struct run_summary summary = {.samples = source->samples ? source->samples->n : 0,
                                  .device = calibration_device(calibration),
                                  .seconds = (double)(clock_ns() - began_ns) * 1e-9,
                                  .skipped = source->progress->skipped};
    calibration_close(calibration);
    if (!rc && !o->quiet)
        report_print(plan, &o->params, &summary);
    return rc;
}

static int32_t say(const struct options *o, const struct calibration_source *source,
                   struct quantize_plan *plan, struct err *err)
{
    if (o->params.budget > 0 && budget_spend(plan, source, err))
        return err->code;
    report_plan(plan, &o->params);
    return INFLIGHT_OK;
}

static int32_t open_model(const struct options *o, struct checkpoint *checkpoint,
                          struct arena *arena, struct err *err)
{
    if (checkpoint_open(checkpoint, o->model, NULL, arena, err))
        return err->code;
    if (!checkpoint->config)
        return err_set(err, INFLIGHT_E_UNSUPPORTED,
                       "%s: is not a Hugging Face folder; files of GGUF are converted while they "
                       "are loaded, by model.quantization",
                       checkpoint->path);
    return INFLIGHT_OK;
}

/* Calibration runs a model layer by layer, each with keys and values of its own. */
static int32_t check_family(const struct options *o, const struct checkpoint *checkpoint,
                            struct err *err)
{
    const char *type = json_string_value(json_object_get(checkpoint->config, "model_type"));
    const struct arch *arch = type ? arch_find_type(type) : NULL;
    if (arch && arch->has_kinds && quantize_calibrates(&o->params))
        return err_set(
            err, INFLIGHT_E_UNSUPPORTED,
            "%s: layers whose heads differ, or that share keys and values, are converted "
            "by rounding alone, and not by what the model computes of a text",
            checkpoint->path);
    return INFLIGHT_OK;
}

/* Samples, if they are to decide about anything. */
static int32_t take_samples(const struct options *o, struct calibration_source *source,
                            struct samples *samples, struct arena *arena, struct err *err)
{
    const struct quantize_params *p = &o->params;
    const struct samples_source from = {.checkpoint = source->checkpoint,
                                        .text = p->calibration,
                                        .device = p->device,
                                        .n = p->samples,
                                        .length = p->length,
                                        .threads = o->threads,
                                        .progress = source->progress,
                                        .is_quiet = o->quiet};
    if (!quantize_calibrates(p) || (o->dry && p->budget <= 0))
        return INFLIGHT_OK;
    source->samples = samples;
    return samples_take(samples, &from, arena, err);
}

static int32_t run(const struct options *o, struct err *err)
{
    struct arena arena;
    struct checkpoint checkpoint;
    struct quantize_plan plan;
    struct samples samples;
    struct progress progress = {0};
    struct calibration_source source = {.checkpoint = &checkpoint,
                                        .plan = &plan,
                                        .params = &o->params,
                                        .progress = &progress,
                                        .threads = o->threads,
                                        .is_quiet = o->quiet};
    arena_init(&arena, &mem_system);
    int32_t rc = open_model(o, &checkpoint, &arena, err);
    if (!rc)
        rc = check_family(o, &checkpoint, err);
    if (!rc)
        rc = quantize_plan(&plan, &checkpoint, &o->params, &arena, err);
    if (!rc && o->params.budget > 0)
        rc = budget_check(&plan, &o->params, err);
    if (!rc)
        rc = take_samples(o, &source, &samples, &arena, err);
    if (!rc)
        rc = (o->dry ? say : write_model)(o, &source, &plan, err);
    checkpoint_close(&checkpoint);
    arena_release(&arena);
    return rc;
}

int main(int argc, char **argv)
{
    struct options o = {.params = {.recipe = &recipes[0],
                                   .device = "auto",
                                   .group = 128,
                                   .samples = 96,
                                   .length = 512,
                                   .alpha = ALPHA_DEFAULT},
                        .threads = cores_available(),
                        .act_order = ACT_ORDER_DEFAULT,
                        .correct = -1};
    struct err err = {0};
    int status = options_read(&o, argc, argv);
    (void)signal(SIGXFSZ, SIG_IGN); /* a limit of the file's size is an error of the write */
    if (status)
        return status - 1;
    if (run(&o, &err)) {
        (void)fprintf(stderr, "inflight-quantize: %s\n", err.text);
        return 1;
    }
    return 0;
}
