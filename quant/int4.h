/* int4_32, int4_64, int4_128: as many values of 4 bits, a scale and a zero point.
 * value = d * (q - zero). A symmetric format has 8 as its zero point.
 *
 *   byte  0    2       3                              3 + n / 2
 *        | d  | zero  | q[0]  q[1]  ...  q[n / 2 - 1]  |
 *
 *   q[j], low four bits: value 2 * j; high four bits: value 2 * j + 1.
 */
#pragma once

#include "f16.h"

#define INT4(n)                                                                        \
    struct __attribute__((packed)) int4_##n {                                          \
        uint16_t d;   /* half */                                                       \
        uint8_t zero; /* 0 .. 15 */                                                    \
        uint8_t q[n / 2];                                                              \
    };                                                                                 \
    static_assert(sizeof(struct int4_##n) == 3 + n / 2, "int4_" #n " has no padding"); \
                                                                                       \
    /* The integer of value i, 0 .. 15. */                                             \
    HD int int4_##n##_q(const struct int4_##n *b, int i)                               \
    {                                                                                  \
        return b->q[i / 2] >> i % 2 * 4 & 15;                                          \
    }                                                                                  \
                                                                                       \
    HD float int4_##n##_at(const struct int4_##n *b, int i)                            \
    {                                                                                  \
        return (float)(int4_##n##_q(b, i) - b->zero) * f16_to_float(b->d);             \
    }                                                                                  \
                                                                                       \
    /* A copy of q, so that no store to out is taken for one to it. */                 \
    HD void int4_##n##_decode(const struct int4_##n *b, float *out)                    \
    {                                                                                  \
        const float d = f16_to_float(b->d);                                            \
        const int zero = b->zero;                                                      \
        uint8_t q[n / 2];                                                              \
        memcpy(q, b->q, sizeof q);                                                     \
        for (int i = 0; i < n / 2; i++) {                                              \
            out[2 * i] = (float)((q[i] & 15) - zero) * d;                              \
            out[2 * i + 1] = (float)((q[i] >> 4) - zero) * d;                          \
        }                                                                              \
    }

INT4(32)
INT4(64)
INT4(128)
#undef INT4
