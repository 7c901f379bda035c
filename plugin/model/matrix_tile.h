/* A tile of a matrix on its way from the tensors of a file to rows of a format: some rows and
 * columns as codes of a byte each, with the scales and zero points of their groups. Codes of 4
 * bits are 0 .. 15; what a file has in two's complement is raised by half of the range. */
#pragma once

#include "matrix.h"

#define TILE_ROWS       128
#define TILE_ROWS_LEAST 16  /* rows are made at multiples of it */
#define TILE_COLUMNS    256 /* a tile begins at a multiple of it */

struct tile {
    int32_t row, rows;       /* of the tensors */
    int32_t column, columns; /* at most TILE_COLUMNS */
    int32_t unit;            /* columns of one group; divides TILE_COLUMNS */
    /* Lines are apart by no power of two, which would put all of them into few sets of a cache. The
     * last codes of a row may be written beyond its columns. */
    uint8_t code[TILE_ROWS][TILE_COLUMNS + CACHE_LINE];
    /* Of each unit, of each row; zero points of integers alone. */
    float scale[TILE_COLUMNS][TILE_ROWS + CACHE_LINE / sizeof(float)];
    uint8_t zero[TILE_COLUMNS][TILE_ROWS + CACHE_LINE];
    float input[TILE_COLUMNS]; /* what each column is multiplied by; of f16 alone */
    float factor;              /* of all scales; 1, but of NVFP4 */
};

enum fault {
    FAULT_NONE,
    FAULT_SCALE, /* not a finite number */
    FAULT_INPUT, /* the same, of the scale of an input */
    FAULT_LARGE, /* more than a half can hold */
    FAULT_CODE,  /* not one of the integers, or not a number */
    FAULT_ZERO,  /* a zero point that is not one of the integers */
    FAULT_MIDDLE /* one that is not the middle */
};

/* What was found where rows were made of a file. */
struct matrix_fault {
    enum fault kind;
    int32_t row, column; /* of the tensors */
    int32_t value;       /* of an integer */
};

/* Columns of the matrix that have one scale and zero point, as many as tiles consist of. */
int32_t matrix_unit(const struct matrix *m);

/* Fills code with rows and columns of a tensor of n rows of K columns. */
void tile_read_codes(const struct storage *s, const uint8_t *codes, int32_t n, int32_t K,
                     struct tile *t);

/* The tile's part of its rows in fmt, which begin at out, row_bytes from one to the next. False:
 * fault says what is in the way. */
bool tile_write(const struct tile *t, const struct storage *s, enum fmt fmt, uint8_t *out,
                size_t row_bytes, struct matrix_fault *fault);
