/* Protocol buffers: the fields of a message, one after another. Format: protobuf.dev's encoding. */
#pragma once

#include "../base/base.h"

struct proto {
    const uint8_t *at, *end;
    bool broken; /* ended before its end, by what is no field */
};

struct proto_field {
    uint32_t number;
    bool is_bytes;
    uint64_t value;   /* of a number, as it is written: a float's bits, no zigzag */
    struct str bytes; /* of a text or a message, borrowed */
};

static inline struct proto proto_of(struct str message)
{
    const uint8_t *p = (const uint8_t *)message.ptr;
    return (struct proto){.at = p, .end = p + message.len};
}

/* False: there is no further field, or the message is broken. */
bool proto_next(struct proto *p, struct proto_field *field);
