/* What experts ask of memory, as the simulated GPU counts it: weights of those that are chosen,
 * once for each 32 of their tokens. */
#define _GNU_SOURCE /* putenv */
#include "costs.h"
#include "cuda_experts.h"

#ifdef INFLIGHT_CUDA
#include "../../kernels/cuda/experts.h"
#include "../../kernels/cuda/layout.h"

/* Of a matrix (N, K), tiles with their records. */
static int64_t matrix_bytes(int layout, int n, int k)
{
    const int64_t tile = TILE_BYTES + STRIP_ROWS * 4 * layout_words(layout);
    return layout_strips(n) * layout_tiles(layout, k) * tile;
}

static int64_t expert_bytes(int layout)
{
    return 2 * matrix_bytes(layout, F, D) + matrix_bytes(layout, D, F);
}

/* Blocks of both products, of all experts. */
static int64_t blocks_of(const struct layer *l)
{
    int32_t count[E_MAX], blocks = 0;
    const size_t bytes = (size_t)l->p->E * sizeof *count;
    CHECK_EQ(backend_cuda.read(l->device, count, l->slots + l->p->E + 1, bytes), 0);
    for (int e = 0; e < l->p->E; e++)
        blocks += (count[e] + EXPERTS_TOKENS - 1) / EXPERTS_TOKENS;
    return blocks;
}

/* n tokens. The first touch of a sector is what memory gives; activations, sums of blocks that
 * share K and lists of tokens are little beside weights. */
static void check_steps(struct layer *l, int n, bool is_recorded)
{
    static float x[T * D];
    const int layout = cuda_layout(l->p->fmt);
    const enum kernel kernel = (enum kernel)(KERNEL_experts_bf16 + layout - LAYOUT_BF16);
    compute(l, 0, n, is_recorded, x);
    const struct gpu_kernel_counts got = costs_of(kernel);
    const int64_t blocks = blocks_of(l), bytes = blocks * expert_bytes(layout);
    const int64_t fresh = (int64_t)got.fresh_read * SECTOR,
                  all = (int64_t)got.sectors_read * SECTOR;
    printf(
        "  %-16s %d of %d, T %-4d weights of %lld blocks %lld bytes, read %lld, of memory %lld\n",
        costs_name(kernel), l->p->U, l->p->E, n, (long long)blocks, (long long)bytes,
        (long long)all, (long long)fresh);
    CHECK_EQ(got.launches, 2);
    CHECK(all >= bytes);
    if (n <= EXPERTS_TOKENS) /* each expert has one block */
        CHECK(fresh >= bytes && fresh < bytes * 5 / 4);
}

TEST(cuda_costs, weights_of_chosen_experts_alone_are_read)
{
    static const struct problem cases[] = {{.fmt = FMT_bf16, .E = 40, .U = 6},
                                           {.fmt = FMT_q8_0, .E = 16, .U = 2},
                                           {.fmt = FMT_mxfp4, .E = 32, .U = 4},
                                           {.fmt = FMT_int4_32, .E = 8, .U = 2}};
    static struct problem p;
    static struct layer l;
    struct device *device = costs_open() ? cuda_device(&config) : NULL;
    for (size_t i = 0; device && i < COUNT_OF(cases); i++) {
        p = cases[i];
        problem_init(&p);
        l = (struct layer){.device = device, .p = &p};
        take_layer(&l);
        check_steps(&l, 1, false);
        check_steps(&l, 3, true);
        check_steps(&l, 20, false);
        check_steps(&l, T, false);
        drop_layer(&l);
        problem_release(&p);
    }
    if (device)
        backend_cuda.close(device);
}
#else
TEST(cuda_costs, is_built)
{
    t_skip("built without CUDA");
}
#endif
