/* See vocab.h. */
#include "vocab.h"

#include "../base/utf8.h"

#include <string.h>

/* Control tokens that end a turn or a text in the families in use; files often name
 * only one of them as eos. */
static const char *const end_names[] = {
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<|return|>",
    "<|call|>",
    "<|end|>",
    "<|eot|>",
    "<|eom|>",
    "<end_of_turn>",
    "</s>",
    "<｜end▁of▁sentence｜>",
    "<|EOT|>",
    "<EOT>",
};

/* Bytes the alphabet writes as the character of the same number. */
static bool is_visible(uint32_t byte)
{
    return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 255 && byte != 173);
}

/* The 68 others are U+0100 .. U+0143, in order: 0 .. 32, 127 .. 160, 173. */
static uint32_t character_of(uint8_t byte)
{
    if (is_visible(byte))
        return byte;
    if (byte <= 32)
        return 256u + byte;
    return byte == 173 ? 256u + 67 : 256u + 33 + (byte - 127u);
}

/* The byte a character stands for, -1 if it is not of the alphabet. */
static int byte_of(uint32_t character)
{
    if (character < 256)
        return is_visible(character) ? (int)character : -1;
    uint32_t k = character - 256;
    if (k <= 32)
        return (int)k;
    if (k <= 66)
        return (int)(k - 33 + 127);
    return k == 67 ? 173 : -1;
}

/* Writes the bytes name stands for, at most name.len; returns how many. A name with a
 * character outside the alphabet stands for itself. */
static size_t decode(struct str name, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < name.len; n++) {
        uint32_t character = (uint8_t)name.ptr[i++];
        if (character >= 0xc2 && character <= 0xc5 && i < name.len &&
            ((uint8_t)name.ptr[i] & 0xc0) == 0x80)
            character = (character & 0x1f) << 6 | ((uint8_t)name.ptr[i++] & 0x3f);
        else if (character >= 0x80)
            character = UINT32_MAX;
        int byte = byte_of(character);
        if (byte < 0) {
            memcpy(out, name.ptr, name.len);
            return name.len;
        }
        out[n] = (char)byte;
    }
    return n;
}

/* The byte that "<0x0A>" stands for, or -1. */
static int byte_of_name(struct str name)
{
    static const char digits[] = "0123456789ABCDEF";
    if (name.len != 6 || memcmp(name.ptr, "<0x", 3) != 0 || name.ptr[5] != '>')
        return -1;
    const char *high = memchr(digits, name.ptr[3], 16), *low = memchr(digits, name.ptr[4], 16);
    return high && low ? (int)(16 * (high - digits) + (low - digits)) : -1;
}

/* The same for names with marks of spaces. */
static size_t decode_marks(struct str name, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < name.len; n++) {
        bool mark = name.len - i >= 3 && memcmp(name.ptr + i, SPACE_MARK, 3) == 0;
        out[n] = mark ? ' ' : name.ptr[i];
        i += mark ? 3 : 1;
    }
    return n;
}

static size_t put_piece(const struct vocab *v, const struct spec *spec, int32_t id, char *out)
{
    struct str name = v->name[id];
    int byte = v->type[id] == TOKEN_BYTE ? byte_of_name(name) : -1;
    if (byte >= 0) {
        *out = (char)byte;
        return 1;
    }
    if (!vocab_is_text(v, id))
        return 0;
    if (spec->byte_level && v->type[id] != TOKEN_USER_DEFINED)
        return decode(name, out);
    if (spec->marks_spaces)
        return decode_marks(name, out);
    if (name.len)
        memcpy(out, name.ptr, name.len);
    return name.len;
}

/* Fills pool and piece_at, and the map from names. Backwards there, so that the first
 * of two equal names is the one found. */
static int32_t read_names(struct vocab *v, const struct spec *spec, struct err *err)
{
    size_t bytes = 0;
    int32_t n_named = 0;
    for (int32_t id = 0; id < v->n; id++)
        bytes += vocab_name(v, id).len;
    if (bytes > UINT32_MAX)
        return err_set(err, INFLIGHT_E_MODEL, "the names of the tokens take %zu bytes", bytes);
    v->pool = arena_take(spec->arena, bytes);
    if (!v->pool || !hash_init(&v->by_name, spec->arena, (size_t)v->n))
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for the names of %d tokens", v->n);

    uint32_t at = 0;
    for (int32_t id = 0; id < v->n; id++) {
        v->piece_at[id] = at;
        at += (uint32_t)put_piece(v, spec, id, v->pool + at);
    }
    v->piece_at[v->n] = at;
    for (int32_t id = v->n - 1; id >= 0; id--) {
        struct str name = vocab_name(v, id);
        if (name.len)
            hash_put(&v->by_name, name.ptr, name.len, id);
        n_named += name.len > 0;
    }
    v->distinct = v->by_name.n == (size_t)n_named;
    return INFLIGHT_OK;
}

/* The ordinary token that GPT-2's alphabet writes a byte with, or -1: some vocabularies lack
 * rare bytes. */
static int32_t alphabet_byte(const struct vocab *v, uint8_t byte)
{
    uint32_t character = character_of(byte);
    char name[2] = {(char)character, 0};
    size_t len = 1;
    if (character >= 0x80) {
        name[0] = (char)(0xc0 | character >> 6);
        name[1] = (char)(0x80 | (character & 0x3f));
        len = 2;
    }
    int32_t id = vocab_find(v, (struct str){name, len});
    bool is_character =
        id >= 0 && (v->type[id] == TOKEN_NORMAL || (v->type[id] == TOKEN_USER_DEFINED && len == 1));
    return is_character ? id : -1;
}

/* The code point of a name that is one, below VOCAB_CHARS; -1: it is not. */
static int32_t code_point(struct str name)
{
    size_t n = 0;
    if (name.len == 0 || name.len > 3 || utf8_next(name.ptr, name.len, &n) != UTF8_WHOLE ||
        n != name.len)
        return -1;
    const uint8_t *p = (const uint8_t *)name.ptr;
    if (n == 1)
        return p[0];
    return n == 2 ? (p[0] & 0x1f) << 6 | (p[1] & 0x3f)
                  : (p[0] & 0x0f) << 12 | (p[1] & 0x3f) << 6 | (p[2] & 0x3f);
}

static int32_t find_units(struct vocab *v, const struct spec *spec, struct err *err)
{
    for (int byte = 0; byte < 256; byte++)
        v->byte_id[byte] = spec->byte_level ? alphabet_byte(v, (uint8_t)byte) : -1;
    if (spec->byte_level)
        return INFLIGHT_OK;
    v->char_id = arena_take_array(spec->arena, VOCAB_CHARS, sizeof *v->char_id);
    if (!v->char_id)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for %d characters", VOCAB_CHARS);
    memset(v->char_id, 0xff, VOCAB_CHARS * sizeof *v->char_id);
    for (int32_t id = v->n - 1; id >= 0; id--) {
        int byte = v->type[id] == TOKEN_BYTE ? byte_of_name(v->name[id]) : -1;
        int32_t c = code_point(v->name[id]);
        if (byte >= 0)
            v->byte_id[byte] = id;
        else if (c >= 0 && v->type[id] != TOKEN_BYTE && vocab_is_text(v, id))
            v->char_id[c] = id;
    }
    return INFLIGHT_OK;
}

static void find_ends(struct vocab *v, const struct spec *spec)
{
    if (v->eos >= 0)
        v->end[v->eos] = true;
    for (int i = 0; i < spec->n_ends; i++)
        v->end[spec->end[i]] = true;
    for (size_t i = 0; i < COUNT_OF(end_names); i++) {
        int32_t id = vocab_find(v, str_of(end_names[i]));
        if (id >= 0 && v->type[id] == TOKEN_CONTROL)
            v->end[id] = true;
    }
    /* In the harmony format <|end|> closes one message of several in a turn. */
    int32_t message_end = vocab_find(v, str_of("<|end|>"));
    if (message_end >= 0 && vocab_find(v, str_of("<|return|>")) >= 0)
        v->end[message_end] = false;
}

int32_t vocab_open(struct vocab *v, const struct spec *spec, struct err *err)
{
    *v = (struct vocab){
        .n = spec->n, .name = spec->name, .type = spec->type, .bos = spec->bos, .eos = spec->eos};
    v->end = arena_take_array(spec->arena, (size_t)v->n, sizeof *v->end);
    v->piece_at = arena_take_array(spec->arena, (size_t)v->n + 1, sizeof *v->piece_at);
    if (!v->end || !v->piece_at)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for a vocabulary of %d tokens", v->n);
    int32_t code = read_names(v, spec, err);
    if (!code)
        code = find_units(v, spec, err);
    if (!code)
        find_ends(v, spec);
    return code;
}

bool vocab_is_text(const struct vocab *v, int32_t id)
{
    return v->type[id] == TOKEN_NORMAL || v->type[id] == TOKEN_USER_DEFINED ||
           v->type[id] == TOKEN_BYTE;
}

int32_t vocab_find(const struct vocab *v, struct str name)
{
    return name.len ? hash_find(&v->by_name, name.ptr, name.len, -1) : -1;
}

int32_t vocab_char(const struct vocab *v, struct str character)
{
    int32_t c = code_point(character);
    if (c >= 0)
        return v->char_id[c];
    int32_t id = vocab_find(v, character);
    return id >= 0 && vocab_is_text(v, id) ? id : -1;
}
