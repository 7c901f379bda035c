/* The encoder of int4_32, int4_64 and int4_128, see encode.h. */
#pragma once

#include <stdint.h>

/* A group of this and minus this still has a scale that is a half. */
#define INT4_LARGEST (7.0f * 65504.0f)

/* n values in groups of group. */
void encode_int4(const float *value, int64_t n, int32_t group, uint8_t *row);
