/* The operation linear on CUDA against its definition, and its promise: the same bits for a
 * token whatever the number of tokens and its place among them, and so whichever kernel ran. */
#include "cuda_linear.h"

#ifdef INFLIGHT_CUDA
#include "../../kernels/cuda/tile.h"

/* The last is more than eight tiles of every layout, the first less than one of most. */
static const int widths[] = {32, 96, 256, 1280};

TEST(cuda_linear, gives_what_the_definition_says_in_every_format)
{
    static float yes;
    int round = 0;
    for (int fmt = 0; fmt < FMT_COUNT; fmt++)
        for (size_t k = 0; k < COUNT_OF(widths); k++, round++) {
            if (widths[k] % fmt_info[fmt].n || !matrix_served(&backend_cuda, (enum fmt)fmt))
                continue;
            const enum fmt fmts[] = {(enum fmt)fmt, (enum fmt)fmt, (enum fmt)fmt};
            const int N[] = {32, 5 + round % 40, 16};
            struct problem p = {.epilogue = round & 1 ? EPILOGUE_ADD : EPILOGUE_STORE,
                                .n_part = 1 + round % 3,
                                .normed = round % 4 == 3};
            if (round & 2)
                p.bias[0] = p.bias[2] = &yes;
            problem_init(&p, fmts, N, widths[k]);
            check_problem(&p, true);
            problem_release(&p);
        }
}

/* Every value of a matrix from the same byte, scales as ever. */
static void fill_matrix(struct matrix *m, uint8_t byte)
{
    uint8_t *data = (uint8_t *)(uintptr_t)m->source.data;
    size_t row = fmt_row_bytes(m->source.fmt, m->source.K), bytes = row * (size_t)m->source.N;
    memset(data, byte, bytes);
    for (int32_t n = 0; n < m->source.N; n++) {
        tame_row(m->source.fmt, data + (size_t)n * row, m->source.K);
        fmt_decode_row(m->source.fmt, data + (size_t)n * row, m->source.K,
                       m->value + (size_t)n * (size_t)m->source.K);
    }
}

/* The largest and the smallest integers of every format. */
TEST(cuda_linear, extreme_integers_are_exact)
{
    static const uint8_t bytes[] = {0x00, 0xff, 0x80, 0x7f};
    for (int fmt = FMT_q4_0; fmt < FMT_COUNT; fmt++)
        for (size_t i = 0; i < COUNT_OF(bytes) && matrix_served(&backend_cuda, (enum fmt)fmt);
             i++) {
            struct problem p = {.epilogue = EPILOGUE_STORE, .n_part = 1};
            problem_init(&p, (enum fmt[]){(enum fmt)fmt}, (int[]){32}, 256);
            fill_matrix(&p.matrix[0], bytes[i]);
            check_problem(&p, false);
            problem_release(&p);
        }
}

TEST(cuda_linear, gates_in_every_format)
{
    static float yes;
    for (int fmt = 0; fmt < FMT_COUNT; fmt++) {
        if (!matrix_served(&backend_cuda, (enum fmt)fmt))
            continue;
        const enum fmt fmts[] = {(enum fmt)fmt, (enum fmt)fmt};
        const int N[] = {53, 53};
        struct problem p = {.epilogue = EPILOGUE_GLU_SILU, .n_part = 2, .normed = fmt % 2};
        p.bias[0] = p.bias[1] = fmt % 3 ? &yes : NULL;
        problem_init(&p, fmts, N, 256);
        check_problem(&p, true);
        problem_release(&p);
    }
}

static void check_one(struct problem p, enum fmt first, enum fmt second, int K)
{
    problem_init(&p, (enum fmt[]){first, second}, (int[]){37, 37}, K);
    for (int i = 0; i < T_MAX * K && p.normed; i++)
        p.x[i] += 3; /* a mean that matters */
    check_problem(&p, true);
    problem_release(&p);
}

TEST(cuda_linear, layers_are_normalized_with_and_without_a_bias)
{
    for (int i = 0; i < 2; i++) {
        struct problem p = {.epilogue = EPILOGUE_STORE,
                            .n_part = 1,
                            .normed = true,
                            .norm_kind = NORM_LAYER,
                            .norm_biased = i == 1};
        check_one(p, FMT_f32, FMT_f32, 576);
        check_one(p, FMT_q8_0, FMT_q8_0, 96);
        check_one(p, FMT_q4_1, FMT_q4_1, 4128);
    }
}

TEST(cuda_linear, every_activation_is_that_of_its_definition)
{
    static const enum epilogue kinds[] = {EPILOGUE_GELU, EPILOGUE_GELU_TANH, EPILOGUE_RELU2,
                                          EPILOGUE_GLU_GELU};
    static float yes;
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        struct problem p = {.epilogue = kinds[i],
                            .n_part = epilogue_is_gated((int32_t)kinds[i]) ? 2 : 1};
        p.bias[0] = p.n_part == 1 ? &yes : NULL;
        check_one(p, FMT_f32, FMT_f32, 96);
        check_one(p, FMT_q4_0, FMT_q8_0, 256);
        check_one(p, FMT_bf16, FMT_bf16, 576);
    }
}

TEST(cuda_linear, parts_may_differ_in_format)
{
    const enum fmt fmts[] = {FMT_q4_k, FMT_bf16, FMT_q6_k};
    const int N[] = {48, 20, 17};
    struct problem p = {.epilogue = EPILOGUE_STORE, .n_part = 3};
    problem_init(&p, fmts, N, 768);
    check_problem(&p, true);
    problem_release(&p);

    const enum fmt gate[] = {FMT_f32, FMT_q8_0};
    const int width[] = {70, 70};
    p = (struct problem){.epilogue = EPILOGUE_GLU_SILU, .n_part = 2};
    problem_init(&p, gate, width, 96);
    check_problem(&p, true);
    problem_release(&p);

    p = (struct problem){.epilogue = EPILOGUE_GLU_SILU, .n_part = 2};
    problem_init(&p, (enum fmt[]){FMT_int8, FMT_fp8}, width, 96);
    check_problem(&p, true);
    problem_release(&p);

    p = (struct problem){.epilogue = EPILOGUE_ADD, .n_part = 3};
    problem_init(&p, (enum fmt[]){FMT_fp8, FMT_bf16, FMT_fp8_128}, N, 640);
    check_problem(&p, true);
    problem_release(&p);

    p = (struct problem){.epilogue = EPILOGUE_GLU_SILU, .n_part = 2};
    problem_init(&p, (enum fmt[]){FMT_fp8_128, FMT_fp8}, width, 128);
    check_problem(&p, true);
    problem_release(&p);
}

/* A matrix of formats of one value a block need not have whole chunks; and rows that go to several
 * blocks. */
TEST(cuda_linear, widths_may_be_any_multiple_of_eight_without_blocks)
{
    static const enum fmt fmts[][2] = {{FMT_f16, FMT_bf16}, {FMT_fp8, FMT_int8}};
    for (size_t i = 0; i < COUNT_OF(fmts); i++)
        for (int K = 8; K <= 200; K += 96) {
            struct problem p = {.epilogue = EPILOGUE_ADD, .n_part = 2};
            problem_init(&p, fmts[i], (int[]){150, 3}, K);
            check_problem(&p, true);
            problem_release(&p);
        }
}

/* Outputs of the row that it is in, and of no other. */
static void check_no_numbers(enum fmt fmt, size_t first)
{
    enum { N = 20, BAD = 3 };
    struct problem p = {.epilogue = EPILOGUE_STORE, .n_part = 1};
    problem_init(&p, &fmt, (int[]){N}, 256);
    uint8_t *data = (uint8_t *)(uintptr_t)p.matrix[0].source.data;
    data[BAD * fmt_row_bytes(fmt, p.K) + first + 77] = 0xff;
    float *y = malloc(T_MAX * (size_t)p.ldy * sizeof *y);
    struct copy c;
    if (copy_init(&c, &p)) {
        for (int T = 1; T <= 33; T += 16) {
            compute(&c, &p, 0, T, y);
            for (int i = 0; i < T * p.ldy; i++)
                CHECK(isnan(y[i]) == (i % p.ldy == p.column[0] + BAD));
        }
        copy_release(&c, &p);
    }
    free(y);
    problem_release(&p);
}

TEST(cuda_linear, what_is_no_number_in_a_weight_is_none_in_its_outputs)
{
    check_no_numbers(FMT_fp8, 4);
    check_no_numbers(FMT_fp8_128, 4);
}

/* Tokens of a large problem by the kernels for few against those by one for many, which are the
 * definition's as other tests say. */
static void check_few(const struct problem *p)
{
    static const int tokens[] = {1, 2, 8, 11, 16};
    const int many = 65;
    float *base = malloc((size_t)many * (size_t)p->ldy * sizeof *base);
    float *y = malloc((size_t)many * (size_t)p->ldy * sizeof *y);
    struct copy c;
    if (copy_init(&c, p)) {
        compute(&c, p, 0, many, base);
        for (size_t i = 0; i < COUNT_OF(tokens); i++) {
            compute(&c, p, (int)i, tokens[i], y);
            check_same(p, y, base, (int)i, tokens[i]);
        }
        copy_release(&c, p);
    }
    free(base);
    free(y);
}

/* Rows that a block loads in several batches, and one that some cards have no shared memory for. */
TEST(cuda_linear, rows_may_be_wide)
{
    static const int wide[] = {4128, 8736, 30720};
    for (int i = 0; i < 2 * (int)COUNT_OF(wide); i++) {
        struct problem p = {.epilogue = EPILOGUE_STORE, .n_part = 1, .normed = i % 2};
        problem_init(&p, (enum fmt[]){i < 2 ? FMT_q8_0 : FMT_q4_1}, (int[]){24}, wide[i / 2]);
        check_problem(&p, true);
        problem_release(&p);
    }
    for (int i = 0; i < 2; i++) {
        struct problem p = {.epilogue = EPILOGUE_STORE, .n_part = 1, .normed = i == 1};
        problem_init(&p, (enum fmt[]){FMT_fp8}, (int[]){37}, wide[i]);
        for (int t = 0; t < T_MAX; t++)
            p.x[t * wide[i] + wide[i] - 1] = 9; /* the largest of a row is in its last batch */
        check_problem(&p, true);
        problem_release(&p);
    }
}

/* More strips than a card has blocks of skinny.h at once, so that these go on to the next strip,
 * part and matrix of a gate: of one tile, where most warps have none, and of more than a ring
 * holds. */
TEST(cuda_linear, blocks_go_on_over_strips)
{
    static float yes;
    struct problem p = {.epilogue = EPILOGUE_STORE, .n_part = 3, .normed = true};
    p.bias[0] = p.bias[2] = &yes;
    problem_init(&p, (enum fmt[]){FMT_q4_1, FMT_q8_0, FMT_q4_1}, (int[]){3000, 40, 5001}, 96);
    check_few(&p);
    problem_release(&p);

    p = (struct problem){.epilogue = EPILOGUE_GLU_SILU, .n_part = 2};
    problem_init(&p, (enum fmt[]){FMT_q6_k, FMT_q6_k}, (int[]){6001, 6001}, 256);
    check_few(&p);
    problem_release(&p);

    p = (struct problem){.epilogue = EPILOGUE_ADD, .n_part = 1};
    problem_init(&p, (enum fmt[]){FMT_bf16}, (int[]){6000}, 1280);
    check_few(&p);
    problem_release(&p);
}

/* One token's row that several groups of a block prepare together, against prepared rows. */
TEST(cuda_linear, groups_share_a_wide_row)
{
    struct problem p = {.epilogue = EPILOGUE_STORE, .n_part = 1};
    problem_init(&p, (enum fmt[]){FMT_q8_0}, (int[]){2200}, 8736);
    float *base = malloc(2 * (size_t)p.ldy * sizeof *base);
    float *y = malloc((size_t)p.ldy * sizeof *y);
    struct copy c;
    if (copy_init(&c, &p)) {
        compute(&c, &p, 0, 2, base);
        compute(&c, &p, 0, 1, y);
        check_same(&p, y, base, 0, 1);
        copy_release(&c, &p);
    }
    problem_release(&p);
    free(base);
    free(y);
}

static void check_tokens(const enum fmt *fmts)
{
    static const int tokens[] = {2, 7, 9, 16, 17, 32, 33, 64, 65, 128};
    const int N[] = {83, 35, 16};
    struct problem p = {.epilogue = EPILOGUE_ADD, .n_part = 3, .normed = true};
    problem_init(&p, fmts, N, 512);
    size_t n = T_MAX * (size_t)p.ldy;
    float *base = malloc(n * sizeof *base), *y = malloc(n * sizeof *y);
    struct copy c;
    if (copy_init(&c, &p)) {
        compute(&c, &p, 0, T_MAX, base);
        for (size_t i = 0; i < COUNT_OF(tokens); i++) {
            int T = tokens[i], last = T_MAX - T;
            compute(&c, &p, 0, T, y);
            check_same(&p, y, base, 0, T);
            compute(&c, &p, last, T, y);
            check_same(&p, y, base, last, T);
        }
        copy_release(&c, &p);
    }
    free(base);
    free(y);
    problem_release(&p);
}

TEST(cuda_linear, tokens_do_not_change_a_bit)
{
    check_tokens((enum fmt[]){FMT_q4_k, FMT_q6_k, FMT_q8_0});
    check_tokens((enum fmt[]){FMT_fp8, FMT_fp8_128, FMT_bf16});
}

/* Cuts of tile.h that a test has met: tokens 32, 64, 128; warps 4, 8; split 1, 2, 4, 8. */
struct cuts {
    bool seen[3][2][4];
};

/* False: there was one like it. */
static bool is_new(struct cuts *cuts, const struct tile_cut *cut)
{
    int split = 0;
    while (1 << split < cut->split)
        split++;
    bool *seen = &cuts->seen[cut->tokens / 64][cut->warps / 8][split];
    return *seen ? false : (*seen = true);
}

/* The problem as tile.h gets it; its parts are of one format. */
static struct tile_cut cut_of(const struct copy *c, const struct problem *p, int T)
{
    struct product_args args = {
        .T = T, .K = p->K, .epilogue = (int32_t)p->epilogue, .n_part = p->n_part};
    for (int i = 0; i < p->n_part; i++) {
        args.part[i].N = p->matrix[i].source.N;
        args.part[i].layout = c->weight[i].layout;
    }
    return tile_cut_of(c->device, &args);
}

/* Every cut that some number of processors and their memory lead to, whose bits must be those of
 * one processor. */
static void check_cuts(const struct problem *p, struct cuts *all)
{
    static const int tokens[] = {17, 61, T_MAX - 2, T_MAX};
    static const int shared[] = {227 << 10, 163 << 10, 99 << 10}; /* of sm_90, sm_80, sm_89 */
    size_t n = T_MAX * (size_t)p->ldy;
    float *base = malloc(n * sizeof *base), *y = malloc(n * sizeof *y);
    struct cuts cuts = {0};
    struct copy c;
    if (copy_init(&c, p)) {
        const int n_sm = c.device->n_sm, shared_most = c.device->shared_most;
        c.device->n_sm = 1;
        compute(&c, p, 0, T_MAX, base);
        for (size_t i = 0; i < COUNT_OF(tokens); i++)
            for (int j = 0; j < 3 * 150; j++) {
                c.device->n_sm = 1 + j / 3;
                c.device->shared_most = MIN(shared[j % 3], shared_most);
                const struct tile_cut cut = cut_of(&c, p, tokens[i]);
                (void)is_new(all, &cut);
                if (!is_new(&cuts, &cut))
                    continue;
                compute(&c, p, 0, tokens[i], y);
                check_same(p, y, base, 0, tokens[i]);
            }
        c.device->n_sm = n_sm;
        c.device->shared_most = shared_most;
        copy_release(&c, p);
    }
    free(base);
    free(y);
}

TEST(cuda_linear, cuts_do_not_change_a_bit)
{
    struct cuts all = {0};
    int n = 0;
    for (int fmt = 0; fmt < FMT_COUNT; fmt++) {
        if (!matrix_served(&backend_cuda, (enum fmt)fmt))
            continue;
        const enum fmt fmts[] = {(enum fmt)fmt, (enum fmt)fmt};
        const bool gated = fmt % 2;
        const int N[] = {gated ? 300 : 530, gated ? 300 : 83};
        struct problem p = {.epilogue = gated     ? EPILOGUE_GLU_SILU
                                        : fmt % 3 ? EPILOGUE_ADD
                                                  : EPILOGUE_STORE,
                            .n_part = 2};
        problem_init(&p, fmts, N, K_MAX);
        check_cuts(&p, &all);
        problem_release(&p);
    }
    for (size_t i = 0; i < sizeof all.seen; i++)
        n += (&all.seen[0][0][0])[i];
    printf("  %d of %zu cuts\n", n, sizeof all.seen);
    CHECK(n >= 8 || n == 0); /* 0: there is no card */
}
#else
TEST(cuda_linear, is_built)
{
    t_skip("built without CUDA");
}
#endif
