/* Splits a product over the lanes.
 *
 * The inputs are quantized first: shared by all lanes, with a barrier behind; or, when that
 * is less work than a barrier, by each lane for itself. If the scratch cannot hold
 * all tokens, they pass in panels.
 *
 * Then the tiles: few tokens are bound by memory, so each lane streams one contiguous share
 * of the weights. Many are bound by arithmetic: lanes take chunks of a few tiles times up
 * to 64 columns, all columns of the same tiles one after the other, so that weights are
 * read from memory once. */
#include "multiply.h"

#include "../../../plugin/base/base.h"
#include "tile.h"

#define PANEL_TOKENS   128        /* tokens the scratch holds in all kinds; more if in one */
#define ALONE_INPUTS   8192       /* values a lane quantizes for itself rather than wait */
#define STATIC_TOKENS  8          /* up to here lanes have fixed shares of the weights */
#define CHUNK_BLOCKS   BLOCKS_MAX /* blocks of columns and tiles of a chunk, at most */
#define CHUNK_TILES    4
#define TILES_ONCE     2 /* of a chunk: what stays in the first cache for all its columns */
#define CHUNKS_OF_LANE 8 /* chunks per lane wanted, for balance */

/* One panel of tokens on one lane. */
struct pass {
    const struct product *product;
    struct inputs in; /* of the panel */
    int first;        /* token of the product where the panel begins */
    bool float_inputs;
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

/* A part at work on one block. */
struct side {
    struct tile_kernel kernel;
    struct tile_job job;
    _Alignas(LINE_BYTES) float out[TILE_FLOATS];
};

static void open_side(struct side *side, const struct pass *pass, const struct linear_part *part,
                      int b, int n)
{
    int index = ISA_FN(width_index)(pass->in.n - b * BLOCK_COLUMNS);
    int width = ISA_FN(width_at)(index);
    side->kernel = find_kernel(pass, part, index);
    side->job = (struct tile_job){
        .bytes = part_tile_bytes(part),
        .K = part->weight->K,
        .layout = (enum layout)part->weight->layout,
        .width_index = index,
        .inputs = block_of(&pass->in, part_inputs(part, pass->float_inputs), b, width),
        .blocks = n,
        .block_bytes = BLOCK_COLUMNS * column_bytes(pass->in.K, pass->in.kinds),
        .out = side->out,
        /* later blocks of a chunk find the tiles in a cache */
        .cold = FETCHES && b % CHUNK_BLOCKS == 0,
    };
}

/* Tiles [tile, tile + n) of the part: one, or as many as its kernel takes. */
static void run_side(struct side *side, const struct linear_part *part, int tile, int n)
{
    side->job.tile = (const uint8_t *)part->weight->data + (size_t)tile * side->job.bytes;
    (n == 1 ? side->kernel.one : side->kernel.many)(&side->job);
}

static vf load_rows(const float *p, int rows)
{
    return rows == PACKED_ROWS ? vf_load(p) : vf_load_first(p, rows);
}

static void store_rows(float *p, vf x, int rows)
{
    if (rows == PACKED_ROWS)
        vf_store(p, x);
    else
        vf_store_first(p, x, rows);
}

static vf with_bias(const float *out, const struct linear_part *part, int row, int rows)
{
    vf x = vf_load(out);
    return part->bias ? vf_add(x, load_rows(part->bias + row, rows)) : x;
}

/* One tile of block b from the kernel's result to y; second: of part 1, with a gate. */
static void finish_tile(const struct pass *pass, const struct linear_part *part, int tile, int b,
                        const float *out, const float *second)
{
    const struct product *product = pass->product;
    int row = tile * PACKED_ROWS, rows = MIN(PACKED_ROWS, part->weight->N - row);
    int token = b * BLOCK_COLUMNS, n = MIN(BLOCK_COLUMNS, pass->in.n - token);
    float *y = product->y + (size_t)(pass->first + token) * product->ldy + part->column + row;
    for (int c = 0; c < n; c++, y += product->ldy, out += PACKED_ROWS) {
        vf x = with_bias(out, part, row, rows);
        switch (product->epilogue) {
        case EPILOGUE_STORE:
            break;
        case EPILOGUE_ADD:
            x = vf_add(load_rows(y, rows), x);
            break;
        case EPILOGUE_GELU:
            x = vf_gelu(x);
            break;
        case EPILOGUE_GELU_TANH:
            x = vf_gelu_tanh(x);
            break;
        case EPILOGUE_GLU_SILU:
            x = vf_mul(vf_silu(x), with_bias(second, part + 1, row, rows));
            break;
        case EPILOGUE_GLU_GELU:
            x = vf_mul(vf_gelu_tanh(x), with_bias(second, part + 1, row, rows));
            break;
        }
        if (second)
            second += PACKED_ROWS;
        store_rows(y, x, rows);
    }
}

/* How many blocks from b on, before the last one, the kernels of part p do at once. */
static int blocks_at_once(const struct pass *pass, int p, int b, int last)
{
    const struct linear_part *part = &pass->product->part[p];
    const int whole = MIN(last, pass->in.n / BLOCK_COLUMNS) - b;
    int most = find_kernel(pass, part, WIDTHS - 1).blocks;
    if (epilogue_is_gated(pass->product->epilogue))
        most = MIN(most, find_kernel(pass, part + 1, WIDTHS - 1).blocks);
    return MAX(1, MIN(most, whole));
}

/* Tiles [first, last) of part p times blocks [b, b + blocks), which its kernels do at once. */
static void run_tiles(const struct pass *pass, int p, int first, int last, int b, int blocks)
{
    const struct linear_part *part = &pass->product->part[p];
    const bool gated = epilogue_is_gated(pass->product->epilogue);
    struct side side, gate;
    open_side(&side, pass, part, b, blocks);
    if (gated)
        open_side(&gate, pass, part + 1, b, blocks);
    int step = !gated || gate.kernel.tiles == side.kernel.tiles ? side.kernel.tiles : 1;
    size_t tile_floats = (size_t)ISA_FN(width_at)(side.job.width_index) * PACKED_ROWS;
    for (int tile = first, n; tile < last; tile += n) {
        n = last - tile < step ? 1 : step;
        run_side(&side, part, tile, n);
        if (gated)
            run_side(&gate, part + 1, tile, n);
        for (int i = 0; i < n * blocks; i++)
            finish_tile(pass, part, tile + i % n, b + i / n, side.out + (size_t)i * tile_floats,
                        gated ? gate.out + (size_t)i * tile_floats : NULL);
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
        run_tiles(pass, p, tiles_before(low > begin ? low - begin : 0, bytes, n),
                  tiles_before(high > begin ? high - begin : 0, bytes, n), 0, 1);
        begin += (uint64_t)n * bytes;
    }
}

/* Chunks taken one by one, until none is left. */
static void run_chunks(struct lane *lane, const struct pass *pass)
{
    const struct product *product = pass->product;
    int blocks = (pass->in.n + BLOCK_COLUMNS - 1) / BLOCK_COLUMNS;
    int columns = (blocks + CHUNK_BLOCKS - 1) / CHUNK_BLOCKS; /* chunks side by side */
    int tiles = 0, p = 0, begin = 0;                          /* begin: first chunk of part p */
    for (int i = 0; i < split_parts(product); i++)
        tiles += part_tiles(&product->part[i]);
    int rows = tiles * columns / (lane->count * CHUNKS_OF_LANE);
    rows = MAX(1, MIN(rows, CHUNK_TILES));

    for (;;) {
        int chunk = lane_take(lane);
        for (int n; p < split_parts(product); p++, begin += n) {
            n = (part_tiles(&product->part[p]) + rows - 1) / rows * columns;
            if (chunk - begin < n)
                break;
        }
        if (p == split_parts(product))
            return;
        int tile = (chunk - begin) / columns * rows, b = (chunk - begin) % columns * CHUNK_BLOCKS;
        int last = MIN(tile + rows, part_tiles(&product->part[p]));
        int end = MIN(b + CHUNK_BLOCKS, blocks);
        for (; tile < last; tile += TILES_ONCE)
            for (int c = b, n; c < end; c += n) {
                n = blocks_at_once(pass, p, c, end);
                run_tiles(pass, p, tile, MIN(tile + TILES_ONCE, last), c, n);
            }
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
    lane_share(lane, columns, &first, &last);
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
        else
            run_chunks(lane, &pass);
        lane_barrier(lane);
    }
}
