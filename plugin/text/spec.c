/* See spec.h. */
#include "spec.h"

#include <string.h>

void spec_init(struct spec *s, struct arena *arena)
{
    *s = (struct spec){.arena = arena, .unknown = -1, .bos = -1, .eos = -1};
    arena_init(&s->scratch, arena->mem);
}

void spec_release(struct spec *s)
{
    json_decref(s->json[0]);
    json_decref(s->json[1]);
    arena_release(&s->scratch);
    *s = (struct spec){0};
}

int32_t spec_take_tokens(struct spec *s, int64_t n, struct err *err)
{
    if (n < 1 || n > SPEC_TOKENS_MAX)
        return err_set(err, INFLIGHT_E_MODEL, "a vocabulary of %lld tokens; 1 to %d are supported",
                       (long long)n, SPEC_TOKENS_MAX);
    s->n = MAX((int32_t)n, s->least_n);
    s->name = arena_take_array(s->arena, (size_t)s->n, sizeof *s->name);
    s->type = arena_take_array(s->arena, (size_t)s->n, sizeof *s->type);
    if (!s->name || !s->type)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for a vocabulary of %d tokens", s->n);
    for (int32_t id = 0; id < s->n; id++)
        s->name[id] = (struct str){"", 0};
    memset(s->type, TOKEN_UNUSED, (size_t)s->n);
    return INFLIGHT_OK;
}

bool spec_keep(const struct spec *s, struct str text, struct str *kept)
{
    *kept = (struct str){arena_copy_text(s->arena, text.ptr, text.len), text.len};
    return kept->ptr != NULL;
}

int32_t spec_add(struct spec *s, const struct spec_added *added, struct err *err)
{
    if (s->n_added == s->added_cap) {
        size_t cap = s->added_cap ? 2 * s->added_cap : 64;
        struct spec_added *more = arena_take_array(&s->scratch, cap, sizeof *more);
        if (!more)
            return err_set(err, INFLIGHT_E_NOMEM, "no memory for %zu added tokens", cap);
        if (s->n_added)
            memcpy(more, s->added, s->n_added * sizeof *more);
        s->added = more;
        s->added_cap = cap;
    }
    s->added[s->n_added++] = *added;
    if (s->type[added->id] != TOKEN_UNKNOWN)
        s->type[added->id] = added->control ? TOKEN_CONTROL : TOKEN_USER_DEFINED;
    return INFLIGHT_OK;
}

int32_t spec_set_added(struct spec *s, const struct spec_added *added, struct err *err)
{
    char shown[SHOWN_TEXT], other[SHOWN_TEXT];
    struct str *name = &s->name[added->id];
    uint8_t type = s->type[added->id];
    if (name->len == 0) {
        if (!spec_keep(s, added->text, name))
            return err_set(err, INFLIGHT_E_NOMEM, "no memory for the names of %d tokens", s->n);
    } else if (name->len != added->text.len || memcmp(name->ptr, added->text.ptr, name->len) != 0) {
        return err_set(err, INFLIGHT_E_MODEL, "added token '%s' has id %d, which is '%s'",
                       shown_text(added->text, shown), added->id, shown_text(*name, other));
    }
    bool is_added = type == TOKEN_CONTROL || type == TOKEN_USER_DEFINED || type == TOKEN_UNKNOWN;
    return is_added ? INFLIGHT_OK : spec_add(s, added, err);
}

struct normal_step *spec_normal(struct spec *s, enum normal_kind kind, struct err *err)
{
    if (s->n_normal == SPEC_STEPS) {
        (void)err_set(err, INFLIGHT_E_MODEL, "more than %d steps of normalisation", SPEC_STEPS);
        return NULL;
    }
    s->normal[s->n_normal] = (struct normal_step){.kind = kind};
    return &s->normal[s->n_normal++];
}

struct pretok_step *spec_pretok(struct spec *s, enum pretok_kind kind, struct err *err)
{
    if (s->n_pretok == SPEC_STEPS) {
        (void)err_set(err, INFLIGHT_E_MODEL, "more than %d steps of cutting into words",
                      SPEC_STEPS);
        return NULL;
    }
    s->pretok[s->n_pretok] = (struct pretok_step){.kind = kind};
    return &s->pretok[s->n_pretok++];
}

void spec_add_end(struct spec *s, int64_t id)
{
    if (id >= 0 && id < s->n && s->n_ends < SPEC_ENDS)
        s->end[s->n_ends++] = (int32_t)id;
}

int32_t spec_find(const struct spec *s, struct str name)
{
    for (int32_t id = 0; name.len && id < s->n; id++)
        if (s->name[id].len == name.len && memcmp(s->name[id].ptr, name.ptr, name.len) == 0)
            return id;
    return -1;
}

bool spec_split_rule(struct str text, struct spec_rule *rule)
{
    const char *space = text.len > 1 ? memchr(text.ptr + 1, ' ', text.len - 1) : NULL;
    if (!space)
        return false;
    rule->left = (struct str){text.ptr, (size_t)(space - text.ptr)};
    rule->right = (struct str){space + 1, text.len - rule->left.len - 1};
    return rule->right.len > 0;
}
