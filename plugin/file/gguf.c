/* GGUF headers: walked once without keeping anything, which proves every count and
 * length, and a second time into memory of exactly that size. So a file that lies never
 * makes the reader take memory, and a header that is not yet all there costs nothing. */
#include "gguf.h"

#include "gguf_walk.h"

#include <inttypes.h>
#include <string.h>

#define ALIGNMENT_DEFAULT 32
#define ALIGNMENT_MAX     (1 << 20)
#define FIRST_READ        ((size_t)1 << 20) /* holds all but the vocabulary of most files */

/* All keys, then all tensors, into g where g has room for them. */
static int32_t walk_entries(struct walk *w, struct gguf *g, struct arena *arena)
{
    for (uint64_t i = 0; i < g->n_values; i++) {
        struct gguf_value skimmed;
        int32_t rc = walk_value(w, g->value ? &g->value[i] : &skimmed, arena);
        if (rc != INFLIGHT_OK) {
            (void)err_prefix(w->err, "key %" PRIu64 " of %" PRIu64, i + 1, g->n_values);
            return rc;
        }
    }
    for (uint64_t i = 0; i < g->tensors.n; i++) {
        struct tensor skimmed;
        int32_t rc = walk_tensor(w, g->tensors.tensor ? &g->tensors.tensor[i] : &skimmed);
        if (rc != INFLIGHT_OK) {
            (void)err_prefix(w->err, "tensor %" PRIu64 " of %" PRIu64, i + 1, g->tensors.n);
            return rc;
        }
    }
    return INFLIGHT_OK;
}

/* The first walk: counts into g, *entries where the keys begin, w->at where the header
 * ends. On INFLIGHT_E_IO *need is set as gguf_parse says. */
static int32_t skim(struct walk *w, struct gguf *g, size_t *entries, size_t *need)
{
    *g = (struct gguf){.version = 0};
    *need = 0;
    int32_t rc = walk_prologue(w, g);
    *entries = w->at;
    if (rc == INFLIGHT_OK)
        rc = walk_entries(w, g, NULL);
    /* At least doubled, so that the walks repeated from the start stay linear in all. */
    if (rc == INFLIGHT_E_IO)
        *need = MAX(w->need, (size_t)MIN(MIN(w->file_bytes, GGUF_HEADER_MAX), 2 * (uint64_t)w->n));
    return rc;
}

static int32_t take_room(struct gguf *g, struct arena *arena, struct err *err)
{
    g->value = arena_take_array(arena, g->n_values, sizeof *g->value);
    g->tensors.tensor = arena_take_array(arena, g->tensors.n, sizeof *g->tensors.tensor);
    if (!g->value || !g->tensors.tensor || !hash_init(&g->by_key, arena, g->n_values))
        return err_set(err, INFLIGHT_E_NOMEM,
                       "no memory for %" PRIu64 " keys and %" PRIu64 " tensors", g->n_values,
                       g->tensors.n);
    return INFLIGHT_OK;
}

/* A second key of one name is refused. */
static int32_t put_keys(struct gguf *g, struct err *err)
{
    char shown[SHOWN_TEXT];
    for (uint64_t i = 0; i < g->n_values; i++) {
        struct str key = g->value[i].key;
        int32_t before = hash_find(&g->by_key, key.ptr, key.len, -1);
        if (before >= 0)
            return err_set(err, INFLIGHT_E_MODEL,
                           "keys %" PRId32 " and %" PRIu64 " are both named %s", before + 1, i + 1,
                           shown_text(key, shown));
        if (!hash_put(&g->by_key, key.ptr, key.len, (int32_t)i))
            return err_set(err, INFLIGHT_E_INTERNAL, "key %" PRIu64 ": the map is full", i + 1);
    }
    return INFLIGHT_OK;
}

static int32_t read_alignment(struct gguf *g, struct err *err)
{
    static const char key[] = "general.alignment";
    int64_t alignment = ALIGNMENT_DEFAULT;

    if (gguf_find(g, key) && !gguf_int(g, key, &alignment))
        return err_set(err, INFLIGHT_E_MODEL, "%s: is not an integer", key);
    if (alignment < 1 || alignment > ALIGNMENT_MAX || (alignment & (alignment - 1)) != 0)
        return err_set(err, INFLIGHT_E_MODEL, "%s: is %" PRId64 ", not a power of two from 1 to %d",
                       key, alignment, ALIGNMENT_MAX);
    g->alignment = (uint32_t)alignment;
    return INFLIGHT_OK;
}

/* Makes the tensor's offset absolute, once it is known to lie in the file. */
static int32_t place_tensor(const struct gguf *g, struct tensor *tensor, uint64_t file_bytes,
                            struct err *err)
{
    char shown[SHOWN_TEXT];
    uint64_t room = file_bytes - g->data_offset;

    if (tensor->offset % g->alignment != 0)
        return err_set(err, INFLIGHT_E_MODEL,
                       "tensor %s: its offset %" PRIu64
                       " is not a multiple of the alignment %" PRIu32,
                       shown_text(tensor->name, shown), tensor->offset, g->alignment);
    if (tensor->offset > room || tensor->bytes > room - tensor->offset)
        return err_set(err, INFLIGHT_E_MODEL,
                       "tensor %s: its %" PRIu64 " bytes at %" PRIu64 " of the tensor data do not"
                       " lie in the file, which has %" PRIu64 " there",
                       shown_text(tensor->name, shown), tensor->bytes, tensor->offset, room);
    tensor->offset += g->data_offset;
    return INFLIGHT_OK;
}

/* What can only be checked with the whole header known. */
static int32_t check_layout(struct gguf *g, const struct walk *w, struct arena *arena)
{
    int32_t rc = read_alignment(g, w->err);
    if (rc != INFLIGHT_OK)
        return rc;
    /* The padding after the header is not there if no tensor follows. */
    g->data_offset = MIN(ROUND_UP((uint64_t)w->at, g->alignment), w->file_bytes);
    for (uint64_t i = 0; i < g->tensors.n && rc == INFLIGHT_OK; i++)
        rc = place_tensor(g, &g->tensors.tensor[i], w->file_bytes, w->err);
    return rc == INFLIGHT_OK ? tensors_check_overlaps(&g->tensors, arena, w->err) : rc;
}

int32_t gguf_parse(struct gguf *g, const uint8_t *bytes, size_t n, uint64_t file_bytes,
                   struct arena *arena, size_t *need, struct err *err)
{
    struct walk w = {.bytes = bytes, .n = n, .file_bytes = MAX(file_bytes, n), .err = err};
    size_t entries;

    int32_t rc = skim(&w, g, &entries, need);
    if (rc != INFLIGHT_OK)
        goto fail;
    rc = take_room(g, arena, err);
    if (rc != INFLIGHT_OK)
        goto fail;
    w.at = entries;
    rc = walk_entries(&w, g, arena);
    if (rc != INFLIGHT_OK)
        goto fail;
    rc = put_keys(g, err);
    if (rc == INFLIGHT_OK)
        rc = tensors_index(&g->tensors, arena, err);
    if (rc != INFLIGHT_OK)
        goto fail;
    rc = check_layout(g, &w, arena);
    if (rc != INFLIGHT_OK)
        goto fail;
    return INFLIGHT_OK;

fail:
    *g = (struct gguf){.version = 0};
    return rc;
}

/* Puts the file before the sentence of a failure, as file_view does itself. */
static int32_t name_file(const struct file *file, int32_t rc, struct err *err)
{
    if (rc != INFLIGHT_OK)
        (void)err_prefix(err, "%s", file->path);
    return rc;
}

static int32_t keep_header(const void *bytes, size_t n, struct arena *arena, const uint8_t **header,
                           struct err *err)
{
    uint8_t *copy = arena_take(arena, n);
    if (!copy)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for a header of %zu bytes", n);
    *header = memcpy(copy, bytes, n);
    return INFLIGHT_OK;
}

/* Views the file's beginning, behind a hook more and more of it until the header is all
 * there, and keeps a copy of exactly the header in the arena: nothing of g depends on the
 * file staying open, or unchanged. */
static int32_t fetch_header(const struct file *file, struct arena *arena, const uint8_t **header,
                            size_t *header_bytes, struct err *err)
{
    struct buf scratch;
    struct err attempt = {.code = INFLIGHT_OK}; /* until it is known to be the last one */
    size_t need = (size_t)(file->map ? file->bytes : MIN(file->bytes, FIRST_READ)), entries;
    int32_t rc;

    buf_init(&scratch, arena->mem);
    do {
        struct gguf g;
        struct walk w = {.n = need, .file_bytes = file->bytes, .err = &attempt};
        w.bytes = file_view(file, 0, w.n, &scratch, &attempt);
        if (!w.bytes) {
            rc = attempt.code;
            break;
        }
        rc = name_file(file, skim(&w, &g, &entries, &need), &attempt);
        if (rc == INFLIGHT_OK)
            rc = keep_header(w.bytes, w.at, arena, header, &attempt);
        *header_bytes = w.at;
    } while (need > 0);
    buf_release(&scratch);
    if (rc != INFLIGHT_OK && err)
        *err = attempt;
    return rc;
}

int32_t gguf_open(struct gguf *g, const struct file *file, struct arena *arena, struct err *err)
{
    const uint8_t *header = NULL;
    size_t n = 0, need;

    *g = (struct gguf){.version = 0};
    int32_t rc = fetch_header(file, arena, &header, &n, err);
    if (rc != INFLIGHT_OK)
        return rc;
    return name_file(file, gguf_parse(g, header, n, file->bytes, arena, &need, err), err);
}
