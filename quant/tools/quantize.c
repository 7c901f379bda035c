/* inflight-quantize: a Hugging Face folder becomes one whose matrices have 8 or 4 bits, which
 * Inflight and other engines load. */
#define _GNU_SOURCE
#include "quantize_report.h"
#include "quantize_samples.h"
#include "quantize_shard.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define KEEP_MOST 64

static const char usage[] =
    "usage: inflight-quantize MODEL -o OUT [options]\n"
    "\n"
    "Writes the Hugging Face folder MODEL anew as OUT, with the matrices of its layers converted,\n"
    "in the conventions of compressed-tensors. OUT is there once it is complete; a run that was\n"
    "stopped goes on when the same command is given again.\n"
    "\n"
    "  -o, --output OUT       a folder that is not there yet\n"
    "  -r, --recipe NAME      (fp8)\n";

static const char usage_rest[] =
    "  -g, --group N          int4: values that share a scale, 128, 64 or 32 (128); rows that do\n"
    "                         not consist of such groups get smaller ones\n"
    "  -s, --symmetric        int4: no zero points\n"
    "  -m, --method NAME      int4: rtn (each number to the nearest, the default), gptq or awq,\n"
    "                         which look at what the model computes of a text\n"
    "  -c, --calibration TEXT the text; with rtn errors of outputs are measured by it\n"
    "      --samples N        parts of the text that are read (128)\n"
    "      --length N         tokens of each (512)\n"
    "      --act-order        gptq: columns with the largest inputs first\n"
    "      --head             convert the output head too, whatever the method by rtn\n"
    "  -k, --keep PATTERN     modules to leave as they are, such as '*.layers.0.*'; may be given\n"
    "                         several times\n"
    "  -t, --threads N        (one a core)\n"
    "      --dry-run          say what would be written\n"
    "      --restart          begin anew where another run was stopped\n"
    "      --quiet            no progress, no table\n"
    "  -h, --help\n";

struct options {
    const char *model, *output;
    struct quantize_params params;
    const char *keep[KEEP_MOST];
    int32_t threads;
    int symmetric, head, dry, restart, quiet, act_order;
};

static void print_usage(FILE *to)
{
    (void)fputs(usage, to);
    for (const struct recipe *r = recipes; r->name; r++)
        (void)fprintf(to, "                           %-10s %s\n", r->name, r->what);
    (void)fputs(usage_rest, to);
}

static bool refuse(const char *option, const char *text, const char *wanted)
{
    (void)fprintf(stderr, "inflight-quantize: --%s %s: is not %s\n", option, text, wanted);
    return false;
}

static bool read_count(const char *text, int32_t least, int32_t most, int32_t *out)
{
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    *out = (int32_t)value;
    return !errno && !*end && end != text && value >= least && value <= most;
}

static bool read_option(struct options *o, int option, const char *text)
{
    switch (option) {
    case 'o':
        o->output = text;
        return true;
    case 'r':
        o->params.recipe = recipe_find(text);
        return o->params.recipe || refuse("recipe", text, "fp8, fp8-block, int8 or int4");
    case 'g':
        return (read_count(text, 1, 1024, &o->params.group) &&
                (o->params.group == 32 || o->params.group == 64 || o->params.group == 128)) ||
               refuse("group", text, "32, 64 or 128");
    case 's':
        o->symmetric = 1;
        return true;
    case 'k':
        if (o->params.n_keep == KEEP_MOST)
            return refuse("keep", text, "among the 64 patterns that there is room for");
        o->keep[o->params.n_keep++] = text;
        return true;
    case 't':
        return read_count(text, 1, 1024, &o->threads) ||
               refuse("threads", text, "a number from 1 to 1024");
    case 'm':
        o->params.method = method_find(text);
        return o->params.method < METHODS || refuse("method", text, "rtn, gptq or awq");
    case 'c':
        o->params.calibration = text;
        return true;
    case 'n':
        return read_count(text, 1, 1 << 20, &o->params.samples) ||
               refuse("samples", text, "a number from 1 to 1048576");
    case 'l':
        return read_count(text, SAMPLE_LEAST, SAMPLE_MOST, &o->params.length) ||
               refuse("length", text, "a number from 16 to 8192");
    default:
        return option == 0;
    }
}

static bool check_method(const struct options *o)
{
    const struct quantize_params *p = &o->params;
    const bool is_calibrated = p->method != METHOD_RTN;
    const char *why = NULL;
    if ((is_calibrated || p->calibration) && p->recipe->fmt != FMT_int4_128)
        why = "with --calibration is for --recipe int4";
    else if (is_calibrated && !p->calibration)
        why = "needs --calibration, a text";
    else if (p->method != METHOD_GPTQ && o->act_order)
        why = "has no --act-order";
    if (why)
        (void)fprintf(stderr, "inflight-quantize: --method %s %s\n", method_name(p->method), why);
    return !why;
}

/* 0: go on; otherwise the status to exit with, plus 1. */
static int read_options(struct options *o, int argc, char **argv)
{
    const struct option names[] = {{"output", required_argument, NULL, 'o'},
                                   {"recipe", required_argument, NULL, 'r'},
                                   {"group", required_argument, NULL, 'g'},
                                   {"symmetric", no_argument, NULL, 's'},
                                   {"head", no_argument, &o->head, 1},
                                   {"keep", required_argument, NULL, 'k'},
                                   {"threads", required_argument, NULL, 't'},
                                   {"dry-run", no_argument, &o->dry, 1},
                                   {"restart", no_argument, &o->restart, 1},
                                   {"quiet", no_argument, &o->quiet, 1},
                                   {"help", no_argument, NULL, 'h'},
                                   {"method", required_argument, NULL, 'm'},
                                   {"calibration", required_argument, NULL, 'c'},
                                   {"samples", required_argument, NULL, 'n'},
                                   {"length", required_argument, NULL, 'l'},
                                   {"act-order", no_argument, &o->act_order, 1},
                                   {0}};
    int option;
    while ((option = getopt_long(argc, argv, "o:r:g:sk:t:m:c:h", names, NULL)) >= 0) {
        if (option == 'h') {
            print_usage(stdout);
            return 1;
        }
        if (!read_option(o, option, optarg))
            return 3;
    }
    if (argc - optind != 1 || (!o->output && !o->dry)) {
        print_usage(stderr);
        return 3;
    }
    if (!check_method(o))
        return 3;
    o->model = argv[optind];
    o->params.act_order = o->act_order;
    o->params.is_symmetric = o->symmetric;
    o->params.head = o->head;
    o->params.keep = o->keep;
    return 0;
}

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

/* What a run is: with the same, files of a run that was stopped are those of this one. */
static json_t *describe_run(const struct options *o, const struct checkpoint *c)
{
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
    if (o->params.calibration)
        (void)json_object_set_new(
            run, "calibration",
            json_pack("{s:s, s:o, s:i, s:i, s:b}", "method", method_name(o->params.method), "text",
                      stamp_of(NULL, o->params.calibration), "samples", o->params.samples, "length",
                      o->params.length, "act_order", o->act_order));
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

/* The files of a folder that writer->out is. */
static int32_t write_all(const struct options *o, const struct checkpoint *c,
                         const struct shard_writer *writer, struct err *err)
{
    const struct out_folder *out = writer->out;
    json_t *config = quantize_config(writer->plan, c->config, &o->params);
    int32_t rc = config ? INFLIGHT_OK : err_set(err, INFLIGHT_E_NOMEM, "no memory for config.json");
    if (!rc)
        rc = shards_write(writer, err);
    if (!rc)
        rc = shards_index(writer, err);
    if (!rc)
        rc = copy_others(out, &c->folder, err);
    if (!rc)
        rc = report_write(writer->plan, &o->params, calibration_samples(writer->calibration), out,
                          err);
    if (!rc)
        rc = out_json(out, "config.json", config, err);
    if (!rc)
        rc = shards_forget_errors(writer, err);
    json_decref(config);
    return rc;
}

static int32_t write_folder(const struct options *o, const struct checkpoint *c,
                            const struct quantize_plan *plan, struct calibration *calibration,
                            struct progress *progress, struct err *err)
{
    struct out_folder out;
    struct encoder encoder;
    struct shard_writer writer = {plan, &c->tensors, &out, &encoder, progress, calibration};
    json_t *run = describe_run(o, c);
    int32_t rc = out_open(&out, o->output, run, o->restart, err);
    json_decref(run);
    if (rc || check_room(plan, &out, err))
        return err->code;
    /* Calibration runs through the layers of files that are there, too. */
    progress->skipped = calibration ? 0 : shards_done(plan, &out);
    encoder_init(&encoder, o->threads);
    rc = write_all(o, c, &writer, err);
    encoder_release(&encoder);
    return rc ? rc : out_finish(&out, err);
}

/* The calibration text is read before there is a folder: one that cannot be used leaves none. */
static int32_t write_model(const struct options *o, const struct checkpoint *c,
                           const struct quantize_plan *plan, struct err *err)
{
    struct progress progress;
    struct calibration *calibration = NULL;
    struct calibration_source source = {c, plan, &o->params, &progress, o->threads, o->quiet};
    int32_t rc = INFLIGHT_OK;
    if (o->params.calibration)
        rc = calibration_open(&calibration, &source, err);
    if (!rc && calibration && calibration_samples(calibration) < o->params.samples && !o->quiet)
        (void)fprintf(stderr, "inflight-quantize: %s has %d samples, %d were asked for\n",
                      o->params.calibration, calibration_samples(calibration), o->params.samples);
    progress_begin(&progress, o->params.recipe->name, "B", plan->from_bytes, o->quiet);
    if (!rc)
        rc = write_folder(o, c, plan, calibration, &progress, err);
    progress_end(&progress);
    struct run_summary summary = {.samples = calibration_samples(calibration),
                                  .seconds = (double)(clock_ns() - progress.began_ns) * 1e-9,
                                  .skipped = progress.skipped};
    calibration_close(calibration);
    if (!rc && !o->quiet)
        report_print(plan, &o->params, &summary);
    return rc;
}

static int32_t run(const struct options *o, struct err *err)
{
    struct arena arena;
    struct checkpoint checkpoint;
    struct quantize_plan plan;
    arena_init(&arena, &mem_system);
    int32_t rc = checkpoint_open(&checkpoint, o->model, NULL, &arena, err);
    if (!rc && !checkpoint.config)
        rc = err_set(err, INFLIGHT_E_UNSUPPORTED,
                     "%s: is not a Hugging Face folder; files of GGUF are converted while they are "
                     "loaded, by model.quantization",
                     checkpoint.path);
    if (!rc)
        rc = quantize_plan(&plan, &checkpoint, &o->params, &arena, err);
    if (!rc && o->dry)
        report_plan(&plan);
    else if (!rc)
        rc = write_model(o, &checkpoint, &plan, err);
    checkpoint_close(&checkpoint);
    arena_release(&arena);
    return rc;
}

int main(int argc, char **argv)
{
    struct options o = {
        .params = {.recipe = &recipes[0], .group = 128, .samples = 128, .length = 512},
        .threads = cores_available()};
    struct err err = {0};
    int status = read_options(&o, argc, argv);
    (void)signal(SIGXFSZ, SIG_IGN); /* a limit of the file's size is an error of the write */
    if (status)
        return status - 1;
    if (run(&o, &err)) {
        (void)fprintf(stderr, "inflight-quantize: %s\n", err.text);
        return 1;
    }
    return 0;
}
