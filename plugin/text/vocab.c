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

static int32_t read_types(struct vocab *v, const struct gguf *g, struct err *err)
{
    memset(v->type, TOKEN_NORMAL, (size_t)v->n);
    const struct gguf_value *types = gguf_find(g, "tokenizer.ggml.token_type");
    if (!types)
        return INFLIGHT_OK;
    bool integers =
        types->element <= GGUF_I32 || types->element == GGUF_U64 || types->element == GGUF_I64;
    if (types->type != GGUF_ARRAY || !integers || types->n != (uint64_t)v->n)
        return err_set(err, INFLIGHT_E_MODEL,
                       "tokenizer.ggml.token_type is not a list of %d integers, one per token",
                       v->n);
    for (int32_t id = 0; id < v->n; id++) {
        int64_t type = gguf_int_at(types, (uint64_t)id);
        if (type < TOKEN_NORMAL || type > TOKEN_BYTE)
            return err_set(err, INFLIGHT_E_MODEL,
                           "tokenizer.ggml.token_type of token %d is %lld, not 1 to 6", id,
                           (long long)type);
        v->type[id] = (uint8_t)type;
    }
    return INFLIGHT_OK;
}

/* Fills pool and piece_at, and the map from names. Backwards there, so that the first
 * of two equal names is the one found. */
static int32_t read_names(struct vocab *v, struct arena *arena, struct err *err)
{
    size_t bytes = 0;
    for (int32_t id = 0; id < v->n; id++)
        bytes += vocab_name(v, id).len;
    if (bytes > UINT32_MAX)
        return err_set(err, INFLIGHT_E_MODEL, "the names of the tokens take %zu bytes", bytes);
    v->pool = arena_take(arena, bytes);
    if (!v->pool || !hash_init(&v->by_name, arena, (size_t)v->n))
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for the names of %d tokens", v->n);

    uint32_t at = 0;
    for (int32_t id = 0; id < v->n; id++) {
        struct str name = vocab_name(v, id);
        v->piece_at[id] = at;
        if (v->type[id] == TOKEN_NORMAL || v->type[id] == TOKEN_BYTE) {
            at += (uint32_t)decode(name, v->pool + at);
        } else if (v->type[id] == TOKEN_USER_DEFINED && name.len) {
            memcpy(v->pool + at, name.ptr, name.len);
            at += (uint32_t)name.len;
        }
    }
    v->piece_at[v->n] = at;
    for (int32_t id = v->n - 1; id >= 0; id--) {
        struct str name = vocab_name(v, id);
        hash_put(&v->by_name, name.ptr, name.len, id);
    }
    v->distinct = v->by_name.n == (size_t)v->n;
    return INFLIGHT_OK;
}

/* The id a key gives, -1 if there is none or it names no token. */
static int32_t id_of_key(const struct vocab *v, const struct gguf *g, const char *key)
{
    int64_t id;
    return gguf_int(g, key, &id) && id >= 0 && id < v->n ? (int32_t)id : -1;
}

static void find_ends(struct vocab *v, const struct gguf *g)
{
    static const char *const keys[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        int32_t id = id_of_key(v, g, keys[i]);
        if (id >= 0)
            v->end[id] = true;
    }
    for (size_t i = 0; i < COUNT_OF(end_names); i++) {
        int32_t id = vocab_find(v, (struct str){end_names[i], strlen(end_names[i])});
        if (id >= 0 && v->type[id] == TOKEN_CONTROL)
            v->end[id] = true;
    }
    /* In the harmony format <|end|> closes one message of several in a turn. */
    int32_t message_end = vocab_find(v, (struct str){"<|end|>", 7});
    if (message_end >= 0 && vocab_find(v, (struct str){"<|return|>", 10}) >= 0)
        v->end[message_end] = false;
}

int32_t vocab_open(struct vocab *v, const struct gguf *g, struct arena *arena, struct err *err)
{
    *v = (struct vocab){.names = gguf_find(g, "tokenizer.ggml.tokens")};
    if (!v->names || v->names->type != GGUF_ARRAY || v->names->element != GGUF_STRING)
        return err_set(err, INFLIGHT_E_MODEL,
                       "the file has no tokenizer: tokenizer.ggml.tokens is missing or not a "
                       "list of texts");
    if (v->names->n == 0 || v->names->n >= INT32_MAX)
        return err_set(err, INFLIGHT_E_MODEL, "tokenizer.ggml.tokens has %llu entries",
                       (unsigned long long)v->names->n);
    v->n = (int32_t)v->names->n;
    v->type = arena_take_array(arena, (size_t)v->n, sizeof *v->type);
    v->end = arena_take_array(arena, (size_t)v->n, sizeof *v->end);
    v->piece_at = arena_take_array(arena, (size_t)v->n + 1, sizeof *v->piece_at);
    if (!v->type || !v->end || !v->piece_at)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for a vocabulary of %d tokens", v->n);
    int32_t code = read_types(v, g, err);
    if (!code)
        code = read_names(v, arena, err);
    if (code)
        return code;
    v->bos = id_of_key(v, g, "tokenizer.ggml.bos_token_id");
    v->eos = id_of_key(v, g, "tokenizer.ggml.eos_token_id");
    find_ends(v, g);
    return INFLIGHT_OK;
}

struct str vocab_name(const struct vocab *v, int32_t id)
{
    return gguf_str_at(v->names, (uint64_t)id);
}

struct str vocab_piece(const struct vocab *v, int32_t id)
{
    return (struct str){v->pool + v->piece_at[id], v->piece_at[id + 1] - v->piece_at[id]};
}

bool vocab_is_text(const struct vocab *v, int32_t id)
{
    return v->type[id] == TOKEN_NORMAL || v->type[id] == TOKEN_USER_DEFINED ||
           v->type[id] == TOKEN_BYTE;
}

int32_t vocab_find(const struct vocab *v, struct str name)
{
    return hash_find(&v->by_name, name.ptr, name.len, -1);
}

int32_t vocab_byte(const struct vocab *v, uint8_t byte)
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
    return id >= 0 && v->type[id] == TOKEN_NORMAL ? id : -1;
}
