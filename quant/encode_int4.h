/* The encoder of int4_32, int4_64 and int4_128, see encode.h. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* A group of this and minus this still has a scale that is a half. */
#define INT4_LARGEST (7.0f * 65504.0f)

/* What other engines want of groups that they read. */
struct int4_style {
    bool is_symmetric; /* 8 is the zero point of all, and scales have either sign */
    bool is_coarse;    /* scales are bfloat16 numbers too, for models whose numbers are these */
};

/* The numbers of a group: scale * (q - zero), q of 0 .. 15. */
struct int4_grid {
    float scale; /* that of half; negative only of a symmetric one */
    float zero;  /* 0 .. 15, an integer */
    uint16_t half;
};

/* The grid of n values by the search that encode.h describes; of a symmetric one, by a search among
 * the scales of either sign. weight: (n) what the square of a value's error counts, or NULL: all
 * the same. */
struct int4_grid int4_fit(const float *value, const float *weight, int32_t n,
                          struct int4_style style);

/* That over part of the range of n values: of a symmetric one, part of the largest is 8 steps from
 * zero, on the side that has as many. */
struct int4_grid int4_clip(const float *value, int32_t n, float part, struct int4_style style);

/* A symmetric grid that has its eighth step on the other side. */
struct int4_grid int4_turned(struct int4_grid grid);

/* The nearest q of the grid. */
void int4_round(const float *value, int32_t n, struct int4_grid grid, uint8_t *q);

/* A group of n values: 3 + n / 2 bytes. */
void int4_put(const uint8_t *q, int32_t n, struct int4_grid grid, uint8_t *group);

/* n values in groups of group: int4_fit, int4_round and int4_put of each. */
void encode_int4(const float *value, int64_t n, int32_t group, struct int4_style style,
                 uint8_t *row);
