/* Fronts of rows, cut one from the other, against what is_before says of each token; by what this
 * processor has and by plain C, which give the same bits. */
#include "plugin/logits_front.h"

#include "logits_row.h"

#include "t.h"

#include "quant/vectors.h"

/* Once more, as on a processor without AVX2. */
#define has_avx2()          false
#define logits_front_init   plain_init
#define logits_front_cut    plain_cut
#define logits_front_weigh  plain_weigh
#define logits_front_choose plain_choose
#define logits_front_token  plain_token
#include "plugin/logits_front.c"
#undef has_avx2
#undef logits_front_init
#undef logits_front_cut
#undef logits_front_weigh
#undef logits_front_choose
#undef logits_front_token

#define GROUPS_MOST ((MAX_V + LOGIT_GROUP - 1) / LOGIT_GROUP)

static struct logit_block block[MAX_V / LOGIT_BLOCK + 1];
static double part[MAX_V / LOGIT_BLOCK + 1];

static struct room {
    struct logit_group group[GROUPS_MOST];
    float value[GROUPS_MOST * LOGIT_GROUP_ROOM];
} rooms[3];

static bool is_in_front(size_t i, size_t token)
{
    return model[i] > model[token] || (model[i] == model[token] && i < token);
}

static double sum_of_eight(float eight[8])
{
    double sum = (double)((eight[0] + eight[4]) + (eight[2] + eight[6])) +
                 (double)((eight[1] + eight[5]) + (eight[3] + eight[7]));
    memset(eight, 0, 8 * sizeof *eight);
    return sum;
}

/* All groups have what is_in_front says; the sum of it, of each group in the order that is fixed:
 * eight sums by place, of 128 values each time. */
static double check_front(const struct logits_front *f, size_t token)
{
    static float weight[LOGIT_GROUP_ROOM];
    double sum = 0;
    for (size_t g = 0; g < logit_groups(f->row->V); g++) {
        size_t n = logits_front_weigh(f, g, weight), found = 0;
        float eight[8] = {0};
        double of_group = 0;
        for (size_t i = g * LOGIT_GROUP; i < MIN((g + 1) * LOGIT_GROUP, f->row->V); i++) {
            if (!is_in_front(i, token))
                continue;
            float want = logits_weight(model[i], f->row->max, f->row->scale);
            CHECK(found < n && weight[found] == want);
            eight[found++ % 8] += want;
            if (found % 128 == 0)
                of_group += sum_of_eight(eight);
        }
        of_group += sum_of_eight(eight);
        CHECK_EQ(found, n);
        CHECK(f->group[g].sum == of_group);
        sum += of_group;
    }
    return sum;
}

/* From a token of the row to one of its front, any, and so on. */
static void check_row(size_t V, uint32_t stream)
{
    struct logits l;
    struct logits_front f = {.row = &l, .group = rooms[0].group, .value = rooms[0].value};
    struct logits_front plain = {.row = &l, .group = rooms[1].group, .value = rooms[1].value};
    size_t token = V / 2;
    model[token] = -4;
    logits_scan(&l, model, (int32_t)V, block, 0.7f);
    double before = logits_sum(&l, part), sum;
    logits_front_init(&f, part, token);
    plain_init(&plain, part, token);
    for (uint64_t step = 0;; step++) {
        rooms[2] = rooms[0];
        struct logits_front copy = f;
        copy.group = rooms[2].group;
        copy.value = rooms[2].value;
        sum = logits_front_cut(&f, 0);
        CHECK(plain_cut(&plain, 0) == sum && sum < before);
        CHECK_NEAR(check_front(&f, token), sum, 1e-12 * sum);
        if (step > 0)
            CHECK(logits_front_token(&f) == token && plain_token(&plain) == token);
        CHECK(check_front(&plain, token) == check_front(&f, token));
        CHECK(logits_front_cut(&copy, sum * 1.001 + 1e-9) < sum * 1.001 + 1e-9);
        if (sum == 0)
            break;
        before = sum;
        size_t g = (size_t)((float)logit_groups(V) * rng_uniform(31, step, stream)), i;
        while (f.group[g].n == 0)
            g = (g + 1) % logit_groups(V);
        i = (size_t)((float)f.group[g].n * rng_uniform(32, step, stream));
        size_t next = g * LOGIT_GROUP;
        for (size_t left = i; !is_in_front(next, token) || left-- > 0;)
            next++;
        logits_front_choose(&f, g, i);
        plain_choose(&plain, g, i);
        token = next;
    }
}

TEST(logits_front, is_what_comes_before_a_token)
{
    for (uint32_t i = 0; i < COUNT_OF(sizes) * 3; i++) {
        const size_t V = (size_t)sizes[i / 3];
        fill((int32_t)V, 3, 21);
        for (size_t j = 0; j < V && i % 3; j++) {
            model[j] = j % 11 == 5 ? NAN : j % 11 == 6 ? -INFINITY : floorf(model[j]);
            if (i % 3 == 2 && model[j] > -INFINITY) /* both zeros are equal */
                model[j] = model[j] > 0 ? 0.0f : -0.0f;
        }
        check_row(V, i);
    }
}
