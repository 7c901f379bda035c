/* Splits a product over the lanes.
 *
 * The inputs are quantized first: shared by all lanes, with a barrier behind; or, when that
 * is less work than a barrier, by each lane for itself. If the scratch cannot hold
 * all tokens, they pass in panels.
 *
 * Then the tiles: few tokens are bound by memory, so each lane streams one contiguous share
 * of the weights. Many are bound by arithmetic: lanes take chunks of a few tiles times up
 * to 64 columns, all columns of the same tiles one after the other, so that weights are
 * read from memory once. Very many are shared out, so that what becomes of a token stays with
 * one lane from one product to the next: each takes the chunks of its tokens, and then those that
 * others have left. Then each lane reads the weights, once for all of its tokens; or, where inputs
 * are of 8 bits, once for each chunk's columns, whose inputs stay in its second cache meanwhile:
 * weights, which are read in their order, are fetched ahead, and inputs are not. */
#include "multiply.h"

#include "../../../plugin/base/base.h"
#include "../../../plugin/base/time_slice.h"
#include "tile.h"

#define PAIRS_AHEAD    (512u << 10) /* bytes fetched ahead at most: half of a second cache */
#define PANEL_TOKENS   128          /* tokens the scratch holds in all kinds; more if in one */
#define ALONE_INPUTS   8192         /* values a lane quantizes for itself rather than wait */
#define STATIC_TOKENS  8            /* up to here lanes have fixed shares of the weights */
#define OWN_TOKENS     64           /* from here on for each lane it has tokens of its own */
#define CHUNK_BLOCKS   BLOCKS_MAX   /* blocks of columns and tiles of a chunk, at most */
#define CHUNK_TILES    4
#define PAIR_TOKENS    32 /* from here on tiles go in pairs where loads are the bound */
#define TILES_ONCE     2  /* of a chunk: what stays in the first cache for all its columns */
#define CHUNKS_OF_LANE 8  /* chunks per lane wanted, for balance */

/* One panel of tokens on one lane. */
struct pass {
    const struct product *product;
    struct inputs in; /* of the panel */
    int first;        /* token of the product where the panel begins */
    bool float_inputs;
    struct cpu_habits habits; /* of the device */
    struct time_slice *slice; /* likewise */
};

/* The kind of inputs that a part is multiplied by. */
static unsigned part_inputs(const struct linear_part *part, bool float_inputs)
{
    const struct layout_info *info = &layout_info[part->weight->layout];
    if (float_inputs)
        return INPUTS_FLOAT;
    if (DOT_PAIRS && (info->data == DATA_BF16 || info->data == DATA_E4M3))
        return INPUTS_PAIRS;
    return is_float(info->data) ? INPUTS_FLOAT : INPUTS_INT8;
}

static int part_tiles(const struct linear_part *part)
{
    return (part->weight->N + PACKED_ROWS - 1) / PACKED_ROWS;
}

static size_t part_tile_bytes(const struct linear_part *part)
{
    return tile_bytes((enum layout)part->weight->layout, part->weight->K);
}

/* Parts that are split; with a gate, part 1 goes along with part 0. */
static int split_parts(const struct product *product)
{
    return epilogue_is_gated(product->epilogue) ? 1 : product->n_part;
}

/* Bytes of weights behind one tile of a split part. */
static size_t split_bytes(const struct product *product, int p)
{
    size_t bytes = part_tile_bytes(&product->part[p]);
    if (epilogue_is_gated(product->epilogue))
        bytes += part_tile_bytes(&product->part[1]);
    return bytes;
}

/* ---- One tile: kernel and epilogue */

static struct tile_kernel find_kernel(const struct pass *pass, const struct linear_part *part,
                                      int width_index)
{
    enum layout layout = (enum layout)part->weight->layout;
    switch (part_inputs(part, pass->float_inputs)) {
    case INPUTS_INT8:
        return TILE_FN(int8_kernels)[layout][width_index];
#if DOT_PAIRS
    case INPUTS_PAIRS:
        return ISA_FN(pair_kernels)[layout - LAYOUT_bf16][width_index];
#endif
    default:
        return TILE_FN(float_kernel)(layout, width_index);
    }
}

/* A part at work on blocks of one width. */
struct side {
    const struct linear_part *part;
    unsigned kind; /* of its inputs */
    struct tile_kernel kernel;
    struct tile_job job;
    struct cpu_habits habits; /* of the pass */
    const uint8_t *inputs;    /* the records of block 0, if it had that width */
    _Alignas(LINE_BYTES) float out[TILE_FLOATS];
};

/* Part p and, with a gate, the one that goes along with it. */
struct sides {
    struct side own, gate;
    bool gated;
    int step, blocks;   /* tiles and blocks that the kernels of both do at once */
    size_t tile_floats; /* of a tile's result */
};

static void open_side(struct side *side, const struct pass *pass, const struct linear_part *part,
                      int width_index)
{
    int width = ISA_FN(width_at)(width_index);
    side->part = part;
    side->kind = part_inputs(part, pass->float_inputs);
    side->kernel = find_kernel(pass, part, width_index);
    side->habits = pass->habits;
    side->inputs = block_of(&pass->in, side->kind, 0, width);
    side->job = (struct tile_job){
        .bytes = part_tile_bytes(part),
        .K = part->weight->K,
        .layout = (enum layout)part->weight->layout,
        .width_index = width_index,
        .block_bytes = BLOCK_COLUMNS * column_bytes(pass->in.K, pass->in.kinds),
        .out = side->out,
    };
}

/* Tiles done at once share each reading of the inputs, but tile after tile is one stream of memory:
 * better where inputs stay in the first cache anyway, or registers hold the sums of one only. Where
 * loads are what products wait for, several blocks of inputs, n tokens, make up for two streams. */
static bool is_one_stream(const struct side *side, int width, int n)
{
    if (side->kind != INPUTS_INT8 || (side->habits.loads_bound && n >= PAIR_TOKENS))
        return false;
    return side->job.K <= STREAM_INPUTS / width ||
           (width == BLOCK_COLUMNS && STREAMS_ALWAYS(layout_info[side->job.layout].data));
}

/* Blocks given to a kernel: several, where it does best to unpack weights once for them. */
static int blocks_at_once(const struct side *side)
{
    const bool unpacks = INT8_UNPACKS(layout_info[side->job.layout].data, side->habits.loads_bound);
    return side->kind == INPUTS_INT8 && !unpacks ? 1 : side->kernel.blocks;
}

/* For blocks as wide as block b. */
static void open_sides(struct sides *sides, const struct pass *pass, int p, int b)
{
    const struct linear_part *part = &pass->product->part[p];
    int index = ISA_FN(width_index)(pass->in.n - b * BLOCK_COLUMNS);
    int width = ISA_FN(width_at)(index);
    open_side(&sides->own, pass, part, index);
    sides->step = sides->own.kernel.tiles;
    sides->blocks = blocks_at_once(&sides->own);
    sides->tile_floats = (size_t)width * PACKED_ROWS;
    sides->gated = epilogue_is_gated(pass->product->epilogue);
    if (sides->gated) {
        open_side(&sides->gate, pass, part + 1, index);
        sides->blocks = MIN(sides->blocks, blocks_at_once(&sides->gate));
    }
    if (is_one_stream(&sides->own, width, pass->in.n) ||
        (sides->gated && sides->step != sides->gate.kernel.tiles))
        sides->step = 1;
}

/* Bytes from integers of n tiles that are read to those that are fetched. What the processor asks
 * for is shared by the tiles, but for bytes that meet one column: these come as fast without. */
static size_t int8_distance(const struct side *side, int n)
{
    const enum data data = layout_info[side->job.layout].data;
    const int width = ISA_FN(width_at)(side->job.width_index);
    if (side->habits.fetch_ahead)
        return width == 1 && data == DATA_S8 ? 0 : side->habits.fetch_ahead / (size_t)n;
    return INT8_AHEAD(width, data);
}

/* The same of weights of any kind. With pairs several tiles are as many streams, each soon at its
 * end: these are the next ones. */
static size_t fetch_distance(const struct side *side, int n)
{
    const struct tile_job *job = &side->job;
    const size_t next = (size_t)n * job->bytes;
    switch (side->kind) {
    case INPUTS_INT8:
        return int8_distance(side, n);
    case INPUTS_PAIRS:
        return n > 1 && next <= PAIRS_AHEAD ? next : 0;
    default:
        return FLOAT_AHEAD;
    }
}

/* Tiles [tile, tile + n) of blocks [b, b + blocks): one tile, or as many as the kernel takes. */
static void run_side(struct side *side, int tile, int n, int b, int blocks)
{
    struct tile_job *job = &side->job;
    job->tile = (const uint8_t *)side->part->weight->data + (size_t)tile * job->bytes;
    job->inputs = side->inputs + (size_t)b * job->block_bytes;
    job->blocks = blocks;
    /* Later blocks find the tiles in a cache. */
    job->ahead = b % CHUNK_BLOCKS == 0 ? fetch_distance(side, n) : 0;
    (n == 1 ? side->kernel.one : side->kernel.many)(job);
}

SIMD vf load_rows(const float *p, int rows)
{
    return rows == PACKED_ROWS ? vf_load(p) : vf_load_first(p, rows);
}

SIMD void store_rows(float *p, vf x, int rows)
{
    if (rows == PACKED_ROWS)
        vf_store(p, x);
    else
        vf_store_first(p, x, rows);
}

/* Results of one tile and block on their way to y. */
struct finish {
    float *y;
    size_t ldy;
    int rows, n;              /* of the tile; tokens */
    const float *out, *bias;  /* of the part; bias NULL: none */
    const float *gate, *lift; /* the same of part 1, with a gate */
    float limit;              /* of the product */
};

SIMD vf with_bias(const float *out, const float *bias, vf by)
{
    return bias ? vf_add(vf_load(out), by) : vf_load(out);
}

/* Whether the epilogue is f(x) = x / (1 + e^u(x)), and what e is raised to. */
SIMD bool is_logistic(enum epilogue epilogue)
{
    return epilogue == EPILOGUE_GELU_TANH || epilogue_is_gated((int32_t)epilogue);
}

SIMD vf logistic_power(enum epilogue epilogue, vf x)
{
    if (epilogue == EPILOGUE_GLU_CLAMPED)
        return vf_mul(vf_set1(-1.702f), x);
    return epilogue == EPILOGUE_GLU_SILU ? vf_silu_power(x) : vf_gelu_tanh_power(x);
}

/* Row i of what the epilogue is of: bounded, if it is that; what is no number stays so. */
SIMD vf epilogue_input(const struct finish *f, enum epilogue epilogue, int i, vf bias)
{
    const vf x = with_bias(f->out + i, f->bias, bias);
    return epilogue == EPILOGUE_GLU_CLAMPED ? vf_min(vf_set1(f->limit), x) : x;
}

/* The same of what that is multiplied by. */
SIMD vf gate_factor(const struct finish *f, enum epilogue epilogue, int i, vf lift)
{
    const vf x = with_bias(f->gate + i, f->lift, lift);
    if (epilogue != EPILOGUE_GLU_CLAMPED)
        return x;
    const vf bounded = vf_max(vf_set1(-f->limit), vf_min(vf_set1(f->limit), x));
    return vf_add(vf_set1(1.0f), bounded);
}

SIMD void finish_columns(const struct finish *f, enum epilogue epilogue)
{
    const bool gated = epilogue_is_gated((int32_t)epilogue);
    const vf bias = f->bias ? load_rows(f->bias, f->rows) : vf_zero();
    const vf lift = gated && f->lift ? load_rows(f->lift, f->rows) : vf_zero();
    float rest[BLOCK_COLUMNS * PACKED_ROWS];
    int32_t power[BLOCK_COLUMNS * PACKED_ROWS];
    for (int i = 0; is_logistic(epilogue) && i < f->n * PACKED_ROWS; i += PACKED_ROWS) {
        vf x = epilogue_input(f, epilogue, i, bias);
        struct vf_exp_parts parts = vf_exp_begin(logistic_power(epilogue, x));
        vf_store(rest + i, parts.rest);
        vi_store(power + i, parts.power);
    }
    float *y = f->y;
    for (int i = 0; i < f->n * PACKED_ROWS; i += PACKED_ROWS, y += f->ldy) {
        vf x = epilogue_input(f, epilogue, i, bias);
        if (epilogue == EPILOGUE_ADD)
            x = vf_add(load_rows(y, f->rows), x);
        if (epilogue == EPILOGUE_GELU)
            x = vf_gelu(x);
        if (epilogue == EPILOGUE_RELU2) {
            x = vf_max(vf_zero(), x); /* NaN stays */
            x = vf_mul(x, x);
        }
        if (is_logistic(epilogue)) {
            vf e = vf_exp_end(vf_load(rest + i), vi_load(power + i));
            x = vf_div(x, vf_add(vf_set1(1.0f), e));
        }
        if (gated)
            x = vf_mul(x, gate_factor(f, epilogue, i, lift));
        store_rows(y, x, f->rows);
    }
}

/* Where the results of one tile and block go. */
SIMD struct finish finish_of(const struct sides *sides, const struct pass *pass, int tile, int b)
{
    const struct product *product = pass->product;
    const struct linear_part *part = sides->own.part;
    int row = tile * PACKED_ROWS, token = b * BLOCK_COLUMNS;
    return (struct finish){
        .y = product->y + (size_t)(pass->first + token) * product->ldy + part->column + row,
        .ldy = product->ldy,
        .rows = MIN(PACKED_ROWS, part->weight->N - row),
        .n = MIN(BLOCK_COLUMNS, pass->in.n - token),
        .bias = part->bias ? part->bias + row : NULL,
        .lift = sides->gated && part[1].bias ? part[1].bias + row : NULL,
        .limit = product->limit,
    };
}

/* Result i of a kernel to y. */
static void finish_tile(const struct sides *sides, struct finish f, int32_t epilogue, int i)
{
    f.out = sides->own.out + (size_t)i * sides->tile_floats;
    f.gate = sides->gate.out + (size_t)i * sides->tile_floats;
    switch (epilogue) {
    case EPILOGUE_STORE:
        finish_columns(&f, EPILOGUE_STORE);
        break;
    case EPILOGUE_ADD:
        finish_columns(&f, EPILOGUE_ADD);
        break;
    case EPILOGUE_GELU:
        finish_columns(&f, EPILOGUE_GELU);
        break;
    case EPILOGUE_GELU_TANH:
    case EPILOGUE_GELU_TIMES: /* multiply_rows follows */
        finish_columns(&f, EPILOGUE_GELU_TANH);
        break;
    case EPILOGUE_RELU2:
        finish_columns(&f, EPILOGUE_RELU2);
        break;
    case EPILOGUE_GLU_SILU:
        finish_columns(&f, EPILOGUE_GLU_SILU);
        break;
    case EPILOGUE_GLU_GELU:
        finish_columns(&f, EPILOGUE_GLU_GELU);
        break;
    case EPILOGUE_GLU_CLAMPED:
        finish_columns(&f, EPILOGUE_GLU_CLAMPED);
        break;
    }
}

/* Results that are in y come times their factors. */
static void multiply_rows(const struct sides *sides, const struct pass *pass, int tile, int b)
{
    const struct product *product = pass->product;
    const struct finish f = finish_of(sides, pass, tile, b);
    const size_t token = (size_t)(pass->first + b * BLOCK_COLUMNS);
    const float *factor = product->factor + token * product->ld_factor + tile * PACKED_ROWS;
    float *y = f.y;
    for (int i = 0; i < f.n; i++, y += f.ldy, factor += product->ld_factor)
        store_rows(y, vf_mul(load_rows(y, f.rows), load_rows(factor, f.rows)), f.rows);
}

/* The lines that results are added to, which are a token apart where no stream is seen, are asked
 * for before the products. */
SIMD void fetch_sums(const struct finish *f)
{
    for (int c = 0; c < f->n; c++)
        __builtin_prefetch(f->y + (size_t)c * f->ldy);
}

/* Tiles [first, last) times blocks [b, b + blocks), which the kernels do at once. A share of a
 * large matrix takes milliseconds, so the lane may stop at every step. */
static void run_tiles(struct sides *sides, const struct pass *pass, int first, int last, int b,
                      int blocks)
{
    const int32_t epilogue = pass->product->epilogue;
    for (int tile = first, n; tile < last; tile += n) {
        n = last - tile < sides->step ? 1 : sides->step;
        time_slice_wait(pass->slice);
        for (int i = 0; epilogue == EPILOGUE_ADD && i < n * blocks; i++) {
            struct finish f = finish_of(sides, pass, tile + i % n, b + i / n);
            fetch_sums(&f);
        }
        run_side(&sides->own, tile, n, b, blocks);
        if (sides->gated)
            run_side(&sides->gate, tile, n, b, blocks);
        for (int i = 0; i < n * blocks; i++)
            finish_tile(sides, finish_of(sides, pass, tile + i % n, b + i / n), epilogue, i);
        for (int i = 0; epilogue == EPILOGUE_GELU_TIMES && i < n * blocks; i++)
            multiply_rows(sides, pass, tile + i % n, b + i / n);
    }
}

/* ---- Shares of the work */

/* Tiles that begin in [low, high) of n tiles of the given bytes, starting at 0. */
static int tiles_before(uint64_t offset, uint64_t bytes, int n)
{
    uint64_t tiles = (offset + bytes - 1) / bytes;
    return tiles < (uint64_t)n ? (int)tiles : n;
}

/* This lane's contiguous share of the bytes of all parts. One block of columns. */
static void run_share(const struct lane *lane, const struct pass *pass)
{
    const struct product *product = pass->product;
    uint64_t total = 0, begin = 0;
    for (int p = 0; p < split_parts(product); p++)
        total += (uint64_t)part_tiles(&product->part[p]) * split_bytes(product, p);
    uint64_t low = total * (uint64_t)lane->id / (uint64_t)lane->count;
    uint64_t high = total * ((uint64_t)lane->id + 1) / (uint64_t)lane->count;
    for (int p = 0; p < split_parts(product); p++) {
        uint64_t bytes = split_bytes(product, p);
        int n = part_tiles(&product->part[p]);
        struct sides sides;
        open_sides(&sides, pass, p, 0);
        run_tiles(&sides, pass, tiles_before(low > begin ? low - begin : 0, bytes, n),
                  tiles_before(high > begin ? high - begin : 0, bytes, n), 0, 1);
        begin += (uint64_t)n * bytes;
    }
}

/* Tiles [tile, last) of part p times blocks [b, end) of one width. */
static void run_blocks(const struct pass *pass, int p, int tile, int last, int b, int end)
{
    struct sides sides;
    if (b >= end)
        return;
    open_sides(&sides, pass, p, b);
    for (; tile < last; tile += TILES_ONCE)
        for (int c = b, n; c < end; c += n) {
            n = MIN(sides.blocks, end - c);
            run_tiles(&sides, pass, tile, MIN(tile + TILES_ONCE, last), c, n);
        }
}

/* Tiles [tile, last) of part p times blocks [b, end), the last of which may be narrower. */
static void run_chunk(const struct pass *pass, int p, int tile, int last, int b, int end)
{
    int whole = MIN(end, pass->in.n / BLOCK_COLUMNS);
    run_blocks(pass, p, tile, last, b, whole);
    run_blocks(pass, p, tile, last, MAX(b, whole), end);
}

#define NOBODY (-1)

static int block_count(const struct pass *pass)
{
    return (pass->in.n + BLOCK_COLUMNS - 1) / BLOCK_COLUMNS;
}

/* Whether chunks follow one another down all tiles, or along all columns. */
static bool goes_down(const struct lane *lane, const struct pass *pass, int owner)
{
    return pass->in.kinds == INPUTS_INT8 && (owner != NOBODY || lane->count == 1);
}

/* Chunks of blocks [first, end), each `rows` tiles high, taken one by one until none is left: from
 * the list of an owner, or NOBODY's. */
static void take_chunks(struct lane *lane, const struct pass *pass, int rows, int owner, int first,
                        int end)
{
    const struct product *product = pass->product;
    const bool down = goes_down(lane, pass, owner);
    int columns = (end - first + CHUNK_BLOCKS - 1) / CHUNK_BLOCKS; /* chunks side by side */
    int p = 0, begin = 0;                                          /* first chunk of part p */
    for (;;) {
        int chunk = owner == NOBODY ? lane_take(lane) : lane_take_of(lane, owner), high = 0;
        for (; p < split_parts(product); p++, begin += high * columns) {
            high = (part_tiles(&product->part[p]) + rows - 1) / rows;
            if (chunk - begin < high * columns)
                break;
        }
        if (p == split_parts(product))
            return;
        chunk -= begin;
        int tile = (down ? chunk % high : chunk / columns) * rows;
        int b = first + (down ? chunk / high : chunk % columns) * CHUNK_BLOCKS;
        run_chunk(pass, p, tile, MIN(tile + rows, part_tiles(&product->part[p])), b,
                  MIN(b + CHUNK_BLOCKS, end));
    }
}

static void run_chunks(struct lane *lane, const struct pass *pass)
{
    const struct product *product = pass->product;
    int blocks = block_count(pass), tiles = 0;
    for (int i = 0; i < split_parts(product); i++)
        tiles += part_tiles(&product->part[i]);
    int rows =
        tiles * ((blocks + CHUNK_BLOCKS - 1) / CHUNK_BLOCKS) / (lane->count * CHUNKS_OF_LANE);
    take_chunks(lane, pass, MAX(1, MIN(rows, CHUNK_TILES)), NOBODY, 0, blocks);
}

/* Whether lanes have tokens of their own. */
static bool has_own(const struct lane *lane, const struct pass *pass)
{
    return lane->count > 1 && pass->in.n >= OWN_TOKENS * lane->count;
}

/* Blocks [*first, *last) of a lane. */
static void own_blocks(const struct lane *lane, int owner, const struct pass *pass, int *first,
                       int *last)
{
    const struct lane of = {.id = owner, .count = lane->count};
    lane_share(&of, block_count(pass), first, last);
}

static void run_own(struct lane *lane, const struct pass *pass)
{
    for (int i = 0, first, last; i < lane->count; i++) {
        int owner = (lane->id + i) % lane->count;
        own_blocks(lane, owner, pass, &first, &last);
        take_chunks(lane, pass, CHUNK_TILES, owner, first, last);
    }
}

/* ---- The whole product */

/* Scratch of one lane that quantizes for itself, at most. */
static size_t alone_bytes(int32_t max_width)
{
    int32_t inputs = MAX(max_width, ALONE_INPUTS);
    return ROUND_UP(column_bytes(inputs, INPUTS_ALL), CACHE_LINE);
}

size_t ISA_FN(linear_scratch_bytes)(const struct device_config *config)
{
    int32_t most = MAX(config->max_tokens, config->max_rows);
    size_t columns = (size_t)ROUND_UP(MIN(most, PANEL_TOKENS), BLOCK_COLUMNS);
    size_t panel = columns * column_bytes(config->max_width, INPUTS_ALL);
    size_t alone = (size_t)config->threads * alone_bytes(config->max_width);
    return ROUND_UP(MAX(panel, alone), CACHE_LINE);
}

/* Quantizes the panel: by all lanes together, or by this one for itself. */
static void write_inputs(struct lane *lane, struct pass *pass)
{
    struct inputs *in = &pass->in;
    const struct device *device = lane->device;
    int columns = ISA_FN(columns_of)(in->n), first, last;
    in->out = device->linear_scratch;
    if (in->n == 1 || (size_t)columns * groups_of(in->K) * GROUP <= ALONE_INPUTS) {
        in->out += (size_t)lane->id * alone_bytes(device->config.max_width);
        ISA_FN(inputs_write)(in, 0, columns);
        return;
    }
    if (has_own(lane, pass)) {
        own_blocks(lane, lane->id, pass, &first, &last);
        first *= BLOCK_COLUMNS;
        last = MIN(last * BLOCK_COLUMNS, columns);
    } else {
        lane_share(lane, columns, &first, &last);
    }
    ISA_FN(inputs_write)(in, first, last);
    lane_barrier(lane);
}

/* Most tokens of a panel: as many as fit the scratch, in panels of about one size. */
static int panel_tokens(const struct device *device, const struct inputs *in)
{
    /* NOLINTNEXTLINE(clang-analyzer-core.DivideZero): a product has a part, so some kind */
    size_t fit = device->linear_scratch_bytes / column_bytes(in->K, in->kinds);
    int most = (int)MIN(fit, (size_t)INT32_MAX / 2) / BLOCK_COLUMNS * BLOCK_COLUMNS;
    int panels = (in->n + most - 1) / most;
    return ROUND_UP((in->n + panels - 1) / panels, BLOCK_COLUMNS);
}

void ISA_FN(multiply)(struct lane *lane, const struct product *product)
{
    struct pass pass = {.product = product, .in = product->in};
    pass.float_inputs = lane->device->config.activations == ACT_FLOAT;
    pass.habits = lane->device->habits;
    pass.slice = lane->device->config.slice;
    for (int p = 0; p < product->n_part; p++)
        pass.in.kinds |= part_inputs(&product->part[p], pass.float_inputs);
    int n = product->in.n;
    for (int most = n ? panel_tokens(lane->device, &pass.in) : 1; pass.first < n;
         pass.first += most) {
        pass.in.n = MIN(most, n - pass.first);
        if (product->in.row)
            pass.in.row = product->in.row + pass.first;
        else
            pass.in.x = product->in.x + (size_t)pass.first * (size_t)product->in.K;
        write_inputs(lane, &pass);
        if (pass.in.n <= STATIC_TOKENS)
            run_share(lane, &pass);
        else if (has_own(lane, &pass))
            run_own(lane, &pass);
        else
            run_chunks(lane, &pass);
        lane_barrier(lane);
    }
}
