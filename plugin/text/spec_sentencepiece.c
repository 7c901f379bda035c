/* tokenizer.model: SentencePiece's protobuf, of which this reads what counts. Format:
 * sentencepiece_model.proto of sentencepiece. */
#include "protobuf.h"
#include "spec_read.h"

#include <string.h>

int32_t spec_set_spaces(struct spec *s, const struct spec_spaces *spaces, struct err *err)
{
    struct normal_step *step;
    s->marks_spaces = true;
    if (spaces->charsmap.len) {
        if (!(step = spec_normal(s, NORMAL_CHARSMAP, err)))
            return err->code;
        step->content = spaces->charsmap;
        step->is_literal = true;
    }
    if (spaces->squeeze && !spec_normal(s, NORMAL_SQUEEZE, err))
        return err->code;
    if (spaces->add_prefix && !spaces->first_prefix_only) {
        if (!(step = spec_normal(s, NORMAL_PREPEND, err)))
            return err->code;
        step->content = str_of(SPACE_MARK);
    }
    if (!(step = spec_normal(s, NORMAL_REPLACE, err)))
        return err->code;
    step->pattern = str_of(" ");
    step->content = str_of(SPACE_MARK);
    step->is_literal = true;
    s->strip_start = spaces->add_prefix;
    if (!spaces->add_prefix || !spaces->first_prefix_only)
        return INFLIGHT_OK;
    struct pretok_step *mark = spec_pretok(s, PRETOK_MARK_SPACES, err);
    if (!mark)
        return err->code;
    mark->prepend = PREPEND_FIRST;
    return INFLIGHT_OK;
}

void spec_score_users(struct spec *s)
{
    double most = -1e30;
    for (int32_t id = 0; id < s->n; id++)
        if (s->type[id] == TOKEN_NORMAL)
            most = MAX(most, s->score[id]);
    for (int32_t id = 0; id < s->n; id++)
        if (s->type[id] == TOKEN_USER_DEFINED)
            s->score[id] = (double)((float)s->name[id].len * (float)most) - 0.1;
}

/* ---- The file */

enum { MODEL_PIECE = 1, MODEL_TRAINER = 2, MODEL_NORMALIZER = 3, MODEL_DENORMALIZER = 5 };
enum { PIECE_TEXT = 1, PIECE_SCORE = 2, PIECE_TYPE = 3 };
enum {
    TRAINER_MODEL = 3,
    TRAINER_SUFFIX = 24,
    TRAINER_BYTES = 35,
    TRAINER_BOS = 41,
    TRAINER_EOS = 42,
};
enum { NORMALIZER_MAP = 2, NORMALIZER_PREFIX = 3, NORMALIZER_SQUEEZE = 4, NORMALIZER_ESCAPE = 5 };
enum { UNIGRAM = 1, BPE = 2 };

/* What a file says, before the defaults of what it does not. */
struct contents {
    size_t n_pieces;
    uint64_t model, bos, eos;
    bool spaces_last;
    struct spec_spaces spaces;
    bool escape;
    bool broken; /* some message in it */
};

static float score_of(uint64_t bits)
{
    uint32_t word = (uint32_t)bits;
    float score;
    memcpy(&score, &word, sizeof score);
    return score;
}

static void read_trainer(struct spec *s, struct contents *c, struct str message)
{
    struct proto p = proto_of(message);
    for (struct proto_field f; proto_next(&p, &f);) {
        if (f.number == TRAINER_MODEL)
            c->model = f.value;
        else if (f.number == TRAINER_SUFFIX)
            c->spaces_last = f.value != 0;
        else if (f.number == TRAINER_BYTES)
            s->byte_fallback = f.value != 0;
        else if (f.number == TRAINER_BOS)
            c->bos = f.value;
        else if (f.number == TRAINER_EOS)
            c->eos = f.value;
    }
    c->broken = c->broken || p.broken;
}

static void read_normalizer(struct contents *c, struct str message)
{
    struct proto p = proto_of(message);
    for (struct proto_field f; proto_next(&p, &f);) {
        if (f.number == NORMALIZER_MAP)
            c->spaces.charsmap = f.bytes;
        else if (f.number == NORMALIZER_PREFIX)
            c->spaces.add_prefix = f.value != 0;
        else if (f.number == NORMALIZER_SQUEEZE)
            c->spaces.squeeze = f.value != 0;
        else if (f.number == NORMALIZER_ESCAPE)
            c->escape = f.value != 0;
    }
    c->broken = c->broken || p.broken;
}

static int32_t read_denormalizer(struct str message, struct err *err)
{
    struct proto p = proto_of(message);
    for (struct proto_field f; proto_next(&p, &f);)
        if (f.number == NORMALIZER_MAP && f.bytes.len)
            return err_set(err, INFLIGHT_E_MODEL,
                           "its text is changed again after decoding, which is not supported");
    return INFLIGHT_OK;
}

static int32_t read_piece(struct spec *s, int32_t id, struct str message, struct err *err)
{
    struct proto p = proto_of(message);
    uint64_t type = TOKEN_NORMAL, score = 0;
    for (struct proto_field f; proto_next(&p, &f);) {
        if (f.number == PIECE_TEXT)
            s->name[id] = f.bytes;
        else if (f.number == PIECE_SCORE)
            score = f.value;
        else if (f.number == PIECE_TYPE)
            type = f.value;
    }
    s->type[id] = (uint8_t)type;
    s->score[id] = (double)score_of(score);
    if (p.broken || type < TOKEN_NORMAL || type > TOKEN_BYTE || s->name[id].len == 0 ||
        !(s->score[id] > -1e30 && s->score[id] < 1e30))
        return err_set(err, INFLIGHT_E_MODEL, "piece %d has no text, a type of %llu, or no score",
                       id, (unsigned long long)type);
    return spec_keep(s, s->name[id], &s->name[id])
               ? INFLIGHT_OK
               : err_set(err, INFLIGHT_E_NOMEM, "no memory for the names of %d tokens", s->n);
}

static int32_t read_pieces(struct spec *s, struct str bytes, size_t n, struct err *err)
{
    struct proto p = proto_of(bytes);
    int32_t id = 0, code = spec_take_tokens(s, (int64_t)n, err);
    if (code)
        return code;
    s->score = arena_take_array(&s->scratch, (size_t)s->n, sizeof *s->score);
    if (!s->score)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for the scores of %d tokens", s->n);
    for (struct proto_field f; proto_next(&p, &f) && !code;)
        if (f.number == MODEL_PIECE && f.is_bytes)
            code = read_piece(s, id++, f.bytes, err);
    return code;
}

/* Control tokens, and those of the user, which are found in normalised text. */
static int32_t add_tokens(struct spec *s, int32_t n, struct err *err)
{
    int32_t code = INFLIGHT_OK;
    for (int32_t id = 0; id < n && !code; id++) {
        bool control = s->type[id] == TOKEN_CONTROL || s->type[id] == TOKEN_UNKNOWN;
        bool user = s->type[id] == TOKEN_USER_DEFINED && s->model != SPEC_UNIGRAM;
        struct spec_added added = {
            .text = s->name[id], .id = id, .control = control, .normalized = !control};
        if (s->type[id] == TOKEN_UNKNOWN)
            s->unknown = id;
        if (control || user)
            code = spec_add(s, &added, err);
    }
    if (s->model == SPEC_UNIGRAM)
        spec_score_users(s);
    return code;
}

static int32_t read_contents(struct spec *s, struct str bytes, struct contents *c, struct err *err)
{
    struct proto p = proto_of(bytes);
    int32_t code = INFLIGHT_OK;
    for (struct proto_field f; proto_next(&p, &f) && !code;) {
        if (!f.is_bytes)
            continue;
        if (f.number == MODEL_PIECE)
            c->n_pieces++;
        else if (f.number == MODEL_TRAINER)
            read_trainer(s, c, f.bytes);
        else if (f.number == MODEL_NORMALIZER)
            read_normalizer(c, f.bytes);
        else if (f.number == MODEL_DENORMALIZER)
            code = read_denormalizer(f.bytes, err);
    }
    if (!code && (p.broken || c->broken))
        return err_set(err, INFLIGHT_E_MODEL, "it is no whole model of SentencePiece");
    if (!code && c->model != UNIGRAM && c->model != BPE)
        return err_set(err, INFLIGHT_E_MODEL, "model type %llu is neither unigram nor BPE",
                       (unsigned long long)c->model);
    if (!code && (c->spaces_last || !c->escape))
        return err_set(err, INFLIGHT_E_MODEL,
                       "spaces behind words, or written as such, are not "
                       "supported");
    return code;
}

static int32_t control_id(const struct spec *s, uint64_t id)
{
    return id < (uint64_t)s->n && s->type[id] == TOKEN_CONTROL ? (int32_t)id : -1;
}

int32_t spec_read_sentencepiece(struct spec *s, struct str bytes, bool first_prefix_only,
                                struct err *err)
{
    struct contents c = {
        .model = UNIGRAM,
        .bos = 1,
        .eos = 2,
        .escape = true,
        .spaces = {.add_prefix = true, .squeeze = true, .first_prefix_only = first_prefix_only}};
    int32_t code = read_contents(s, bytes, &c, err);
    if (!code)
        code = read_pieces(s, bytes, c.n_pieces, err);
    if (code)
        return code;
    s->model = c.model == UNIGRAM ? SPEC_UNIGRAM : SPEC_BPE_SCORES;
    s->fuse_unknown = s->single = true;
    s->bos = control_id(s, c.bos);
    s->eos = control_id(s, c.eos);
    code = add_tokens(s, (int32_t)c.n_pieces, err);
    return code ? code : spec_set_spaces(s, &c.spaces, err);
}
