#include "options.h"

#include "samples.h"

#include "../../kernels/backend.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: inflight-quantize MODEL -o OUT [options]\n"
    "\n"
    "Writes the Hugging Face folder MODEL anew as OUT, with the matrices of its layers converted,\n"
    "in the conventions of compressed-tensors or ModelOpt. OUT is there once it is complete; a\n"
    "run that was stopped goes on when the same command is given again.\n"
    "\n"
    "  -o, --output OUT       a folder that is not there yet\n"
    "  -r, --recipe NAME      (fp8)\n";

static const char usage_rest[] =
    "  -g, --group N          int4: values that share a scale, 128, 64 or 32 (128); rows that do\n"
    "                         not consist of such groups get smaller ones\n"
    "  -s, --symmetric        int4: no zero points; scales have either sign\n"
    "  -m, --method NAME      rtn (each number to the nearest, the default); gptq, or of int4 "
    "awq,\n"
    "                         or of int8 smooth, which look at what the model computes of a text\n"
    "      --alpha N          smooth: from 0 to 1, how much easier inputs become to round, and\n"
    "                         weights harder (0.5)\n"
    "  -c, --calibration TEXT that text, of all kinds that the model is to be good at; fp8-static\n"
    "                         reads one, too, and with rtn errors of outputs are measured by it.\n"
    "                         Where one is needed and none is given, the model writes it, and is\n"
    "                         in memory as a whole while it does\n"
    "  -d, --device NAME      that computes it: auto, cpu or cuda (auto)\n"
    "      --samples N        parts of the text that are read, or written (96)\n"
    "      --length N         tokens of each (512)\n"
    "      --correct N        gptq: from 0 to 1, how much each matrix makes up for what rounding\n"
    "                         has changed before it (0.25); not 0: the model as it was is run\n"
    "                         beside the one that is made\n"
    "      --no-act-order     gptq: columns from the first to the last, instead of those with the\n"
    "                         largest inputs first\n"
    "      --head             convert the output head too; awq, smooth: by rtn\n"
    "  -f, --format NAME      compressed-tensors, or modelopt, which has fp8 and fp8-static\n"
    "                         (compressed-tensors)\n"
    "  -k, --keep PATTERN     modules to leave as they are, such as '*.layers.0.*'; may be given\n"
    "                         several times\n"
    "  -b, --budget BITS      bits a weight, such as 5: matrices that cost most get smaller\n"
    "                         groups or int8 (of int4), or stay as they are, as far as all have "
    "no\n"
    "                         more together; measured first, by samples if there are any\n"
    "  -t, --threads N        (one a core)\n"
    "      --dry-run          say what would be written\n"
    "      --restart          begin anew where another run was stopped\n"
    "      --quiet            no progress, no table\n"
    "  -h, --help\n";

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

static bool read_share(const char *text, float *out)
{
    char *end;
    *out = strtof(text, &end);
    return !*end && end != text && *out >= 0 && *out <= 1;
}

/* What says how matrices are converted. */
static bool read_choice(struct options *o, int option, const char *text)
{
    struct quantize_params *p = &o->params;
    switch (option) {
    case 'r':
        p->recipe = recipe_find(text);
        return p->recipe ||
               refuse("recipe", text, "fp8, fp8-block, fp8-static, int8, int8-group or int4");
    case 'm':
        p->method = method_find(text);
        return p->method < METHODS || refuse("method", text, "rtn, gptq, awq or smooth");
    case 'd':
        p->device = text;
        return strcmp(text, "auto") == 0 || backend_find(text) ||
               refuse("device", text, "auto, cpu or cuda, of which this build has none");
    default:
        p->convention = strcmp(text, "modelopt") == 0 ? MODELOPT : COMPRESSED_TENSORS;
        return p->convention == MODELOPT || strcmp(text, "compressed-tensors") == 0 ||
               refuse("format", text, "compressed-tensors or modelopt");
    }
}

static bool read_option(struct options *o, int option, const char *text)
{
    char *end;
    switch (option) {
    case 'o':
        o->output = text;
        return true;
    case 'r':
    case 'm':
    case 'd':
    case 'f':
        return read_choice(o, option, text);
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
    case 'b':
        o->params.budget = strtod(text, &end);
        return (end != text && !*end && o->params.budget > 0 && o->params.budget <= 32) ||
               refuse("budget", text, "a number of bits above 0 and at most 32");
    case 'a':
        return read_share(text, &o->params.alpha) || refuse("alpha", text, "a number from 0 to 1");
    case 'e':
        return read_share(text, &o->correct) || refuse("correct", text, "a number from 0 to 1");
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

/* The first thing that options ask for and that is not to be had together, or NULL. */
static const char *conflict(const struct options *o)
{
    const struct quantize_params *p = &o->params;
    const struct recipe *recipe = p->recipe;
    if (!(recipe->methods >> p->method & 1u))
        return "is not for this recipe";
    if (p->method != METHOD_GPTQ && o->act_order != ACT_ORDER_DEFAULT)
        return o->act_order ? "has no --act-order" : "has no --no-act-order";
    if (p->method != METHOD_GPTQ && o->correct >= 0)
        return "has no --correct";
    if (p->method != METHOD_SMOOTH && p->alpha != ALPHA_DEFAULT)
        return "has no --alpha";
    if (recipe->is_static && o->head)
        return "has no --head: it has no scale for what that reads";
    if (recipe->is_static && p->budget > 0)
        return "has no --budget";
    if (p->convention == MODELOPT && !recipe->quant_algo)
        return "has no --format modelopt: fp8 and fp8-static have";
    return NULL;
}

static bool check_method(const struct options *o)
{
    const char *why = conflict(o);
    if (why)
        (void)fprintf(stderr, "inflight-quantize: --recipe %s --method %s %s\n",
                      o->params.recipe->name, method_name(o->params.method), why);
    return !why;
}

int options_read(struct options *o, int argc, char **argv)
{
    const struct option names[] = {{"output", required_argument, NULL, 'o'},
                                   {"recipe", required_argument, NULL, 'r'},
                                   {"group", required_argument, NULL, 'g'},
                                   {"symmetric", no_argument, NULL, 's'},
                                   {"head", no_argument, &o->head, 1},
                                   {"keep", required_argument, NULL, 'k'},
                                   {"budget", required_argument, NULL, 'b'},
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
                                   {"no-act-order", no_argument, &o->act_order, 0},
                                   {"correct", required_argument, NULL, 'e'},
                                   {"alpha", required_argument, NULL, 'a'},
                                   {"device", required_argument, NULL, 'd'},
                                   {"format", required_argument, NULL, 'f'},
                                   {0}};
    int option;
    while ((option = getopt_long(argc, argv, "o:r:g:sk:t:m:c:b:d:f:h", names, NULL)) >= 0) {
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
    o->params.act_order = o->params.method == METHOD_GPTQ && o->act_order;
    if (o->params.method == METHOD_GPTQ)
        o->params.correction = o->correct < 0 ? CORRECTION_DEFAULT : o->correct;
    o->params.is_symmetric = o->symmetric;
    o->params.head = o->head;
    o->params.keep = o->keep;
    return 0;
}
