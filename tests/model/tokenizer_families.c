/* Each family's way from text to ids, on the lines of golden/tokenizer.bin, against the
 * reference implementation: golden/tokenizer_families.bin has a small vocabulary for each
 * family and the hashes of the ids; tokenizer_families.py made and describes it. */
#include "t.h"
#include "tokenizer_golden.h"
#include "unit/text_model.h"

#define FAMILIES_PATH "tests/model/golden/tokenizer_families.bin"

#define FAMILY_MERGES 2048
#define FAMILY_TOKENS 4096

struct family {
    char name[64];
    const char *merge[FAMILY_MERGES];
    struct text_token token[FAMILY_TOKENS]; /* what the merges make, and further ones */
    char pool[64 << 10];                    /* of names of what the merges make */
    uint32_t n_merges, n_tokens;
};

/* Reads up to the hashes; returns where they begin, or NULL. */
static const char *read_family(struct family *f, const char *p)
{
    uint32_t used = 0, n_further;
    snprintf(f->name, sizeof f->name, "%.*s", (uint8_t)*p, p + 1);
    p += 1 + (uint8_t)*p;
    f->n_merges = u32_at(p);
    n_further = u32_at(p + 4);
    p += 8;
    if (f->n_merges > FAMILY_MERGES || f->n_merges + n_further > FAMILY_TOKENS)
        return NULL;
    for (f->n_tokens = 0; f->n_tokens < f->n_merges; f->n_tokens++, p += strlen(p) + 1) {
        const char *space = strchr(p, ' ');
        if (!space || used + strlen(p) > sizeof f->pool)
            return NULL;
        f->merge[f->n_tokens] = p;
        f->token[f->n_tokens] = (struct text_token){f->pool + used, 1};
        used += 1 + (uint32_t)snprintf(f->pool + used, strlen(p), "%.*s%s", (int)(space - p), p,
                                       space + 1);
    }
    for (; n_further--; p += strlen(p) + 1) {
        f->token[f->n_tokens++] = (struct text_token){p + 1, (uint8_t)*p};
        p++;
    }
    return p;
}

/* One list of hashes; returns where the next begins. */
static const char *check_family_ids(const struct golden *golden, const struct family *f,
                                    const struct tokenizer *t, const char *p, bool all_trusted)
{
    static uint8_t trusted[1 << 16];
    uint32_t per_hash = u32_at(p), n = u32_at(p + 4), h = FNV_START, n_wrong = 0;
    struct buf ids;
    struct err err;
    memset(trusted, 1, sizeof trusted);
    buf_init(&ids, &mem_system);
    CHECK_EQ(n * per_hash, golden->n_lines);
    for (uint32_t i = 0; i < n * per_hash; i++) {
        ids.len = 0;
        CHECK_EQ(
            tokenizer_encode(t, golden->line[i], all_trusted ? trusted : NULL, false, &ids, &err),
            0);
        h = fnv(ids.ptr, ids.len, i % per_hash ? h : FNV_START);
        if (i % per_hash == per_hash - 1 && h != u32_at(p + 8 + 4 * (size_t)(i / per_hash)) &&
            n_wrong++ < 3)
            t_fail(__FILE__, __LINE__, "%s, %s: a line of %u to %u differs", f->name,
                   all_trusted ? "trusted" : "plain", i + 1 - per_hash, i);
    }
    CHECK_EQ(n_wrong, 0);
    buf_release(&ids);
    return p + 8 + 4 * (size_t)n;
}

/* Both lists, with the tokenizer that the name pre gives; returns where they end. */
static const char *check_family(const struct golden *golden, const struct family *f,
                                const char *pre, const char *p)
{
    static struct text_model m;
    CHECK_EQ(text_model_open(&m, "gpt2", pre, f->token, f->n_tokens, f->merge, f->n_merges, 0), 0);
    if (m.tokenizer) {
        p = check_family_ids(golden, f, m.tokenizer, p, true);
        p = check_family_ids(golden, f, m.tokenizer, p, false);
    }
    text_model_close(&m);
    return p;
}

TEST(tokenizer_families, every_family_gives_the_ids_of_the_reference)
{
    static char bytes[1 << 18];
    static struct family family;
    struct golden golden;
    FILE *f = fopen(FAMILIES_PATH, "rb");
    size_t n = f ? fread(bytes, 1, sizeof bytes, f) : 0;
    if (f)
        fclose(f);
    CHECK(golden_open(&golden));
    CHECK(n > 12 && n < sizeof bytes && memcmp(bytes, "TOKFAMS1", 8) == 0);
    const char *p = bytes + 12;
    uint32_t n_families = 0;
    while (p && n_families < u32_at(bytes + 8)) {
        p = read_family(&family, p);
        /* Two names of one way to cut. */
        if (p && strcmp(family.name, "llama-bpe") == 0)
            (void)check_family(&golden, &family, "smaug-bpe", p);
        p = p ? check_family(&golden, &family, family.name, p) : NULL;
        n_families++;
    }
    CHECK(p == bytes + n);
    CHECK_EQ(n_families, 14);
    golden_close(&golden);
}
