/* Codes of the layouts that quantized checkpoints have, to a byte each. In those that have K first
 * a tile takes whole cache lines of the file, as many rows as it has. */
#include "matrix_tile.h"

#include <string.h>

/* Nibble i of a word, from the lowest on, to byte i. */
static inline uint64_t spread(uint32_t word)
{
    uint64_t w = word;
    w = (w | w << 16) & 0x0000ffff0000ffffu;
    w = (w | w << 8) & 0x00ff00ff00ff00ffu;
    return (w | w << 4) & 0x0f0f0f0f0f0f0f0fu;
}

static inline uint32_t word_at(const uint8_t *words, int64_t i)
{
    uint32_t word;
    memcpy(&word, words + i * (int64_t)sizeof word, sizeof word);
    return word;
}

/* ---- Rows of bytes */

static void read_bytes(const uint8_t *codes, int32_t K, struct tile *t)
{
    for (int32_t r = 0; r < t->rows; r++)
        memcpy(t->code[r], codes + (int64_t)(t->row + r) * K + t->column, (size_t)t->columns);
}

/* Two's complement of the byte or, where the integers are of 4 bits, what is not one of them will
 * be above 15. */
static void raise_bytes(int32_t bits, struct tile *t)
{
    const int by = bits == 8 ? 128 : 8;
    for (int32_t r = 0; r < t->rows; r++)
        for (int32_t k = 0; k < t->columns; k++)
            t->code[r][k] = (uint8_t)(t->code[r][k] + by);
}

static void read_pairs(const uint8_t *codes, int32_t K, struct tile *t)
{
    for (int32_t r = 0; r < t->rows; r++) {
        const int32_t row = t->row + r, shift = row % 2 * 4;
        const uint8_t *from = codes + (int64_t)(row / 2) * K + t->column;
        for (int32_t k = 0; k < t->columns; k++)
            t->code[r][k] = (from[k] >> shift & 15) ^ 8;
    }
}

/* ---- Rows of words */

static void read_packed(const uint8_t *codes, int32_t bits, int32_t K, struct tile *t)
{
    const int32_t each = 32 / bits; /* codes of a word */
    const int64_t words = (K + each - 1) / each;
    for (int32_t r = 0; r < t->rows; r++) {
        const uint8_t *from = codes + ((t->row + r) * words + t->column / each) * 4;
        if (bits == 8) {
            memcpy(t->code[r], from, (size_t)t->columns);
            continue;
        }
        for (int32_t k = 0; k < t->columns; k += each) {
            uint64_t eight = spread(word_at(from, k / each));
            memcpy(t->code[r] + k, &eight, sizeof eight);
        }
    }
}

/* ---- Words along K, row by row of the matrix */

static void read_gptq(const uint8_t *codes, int32_t bits, int32_t n, struct tile *t)
{
    const int32_t each = 32 / bits;
    for (int32_t k = 0; k < t->columns; k += each) {
        const uint8_t *from = codes + ((int64_t)((t->column + k) / each) * n + t->row) * 4;
        for (int32_t r = 0; r < t->rows; r++) {
            uint32_t word = word_at(from, r);
            uint64_t eight = spread(word);
            if (bits == 8)
                memcpy(t->code[r] + k, &word, sizeof word);
            else
                memcpy(t->code[r] + k, &eight, sizeof eight);
        }
    }
}

/* ---- Words along N */

/* Byte j of line i becomes byte i of line j: halves of 4, 2 and 1 bytes change places. */
static inline void transpose(uint64_t line[8])
{
    static const uint64_t masks[] = {0x00000000ffffffffu, 0x0000ffff0000ffffu, 0x00ff00ff00ff00ffu};
    for (int step = 0, half = 4; half > 0; step++, half /= 2)
        for (int i = 0; i < 8; i++)
            if (!(i & half)) {
                uint64_t low = line[i], high = line[i + half];
                line[i] = (low & masks[step]) | (high & masks[step]) << half * 8;
                line[i + half] = (low >> half * 8 & masks[step]) | (high & ~masks[step]);
            }
}

/* Eight columns at once, of as many rows; k: at most 7 columns follow it. */
static inline void read_awq_block(const uint8_t *words, int64_t stride, int32_t n, uint64_t line[8])
{
    for (int32_t i = 0; i < 8; i++)
        line[i] = i < n ? spread(word_at(words, i * stride)) : 0;
    transpose(line);
}

static void read_awq(const uint8_t *codes, int32_t n, struct tile *t)
{
    static const int32_t order[8] = {0, 2, 4, 6, 1, 3, 5, 7}; /* the row of each nibble */
    const int64_t stride = n / 8;
    for (int32_t k = 0; k < t->columns; k += 8)
        for (int32_t word = t->row / 8; word * 8 < t->row + t->rows; word++) {
            uint64_t line[8];
            read_awq_block(codes + ((int64_t)(t->column + k) * stride + word) * 4, stride,
                           MIN(t->columns - k, 8), line);
            for (int32_t i = 0; i < 8; i++) {
                const int32_t r = word * 8 + order[i] - t->row;
                if (r >= 0 && r < t->rows)
                    memcpy(t->code[r] + k, &line[i], sizeof line[i]);
            }
        }
}

void tile_read_codes(const struct storage *s, const uint8_t *codes, int32_t n, int32_t K,
                     struct tile *t)
{
    switch (s->codes) {
    case CODES_E4M3:
        read_bytes(codes, K, t);
        break;
    case CODES_I8:
        read_bytes(codes, K, t);
        raise_bytes(s->bits, t);
        break;
    case CODES_PAIRS:
        read_pairs(codes, K, t);
        break;
    case CODES_PACKED:
    case CODES_NVFP4:
    case CODES_NVFP4_PACKED:
    case CODES_MXFP4_PACKED:
        read_packed(codes, s->bits, K, t); /* four bytes of pairs are such a word */
        break;
    case CODES_AWQ:
        read_awq(codes, n, t);
        break;
    case CODES_GPTQ:
        read_gptq(codes, s->bits, n, t);
        break;
    case CODES_MXFP4:
    case CODES_NONE:
    case CODES_COUNT:
        break;
    }
}
