/* See protobuf.h. */
#include "protobuf.h"

enum wire { WIRE_VARINT, WIRE_64, WIRE_BYTES, WIRE_32 = 5 };

static bool read_varint(struct proto *p, uint64_t *value)
{
    *value = 0;
    for (int shift = 0; shift < 64 && p->at < p->end; shift += 7) {
        uint8_t byte = *p->at++;
        *value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return true;
    }
    return false;
}

static bool read_fixed(struct proto *p, size_t n, uint64_t *value)
{
    if ((size_t)(p->end - p->at) < n)
        return false;
    *value = 0;
    for (size_t i = 0; i < n; i++)
        *value |= (uint64_t)p->at[i] << 8 * i;
    p->at += n;
    return true;
}

static bool read_bytes(struct proto *p, struct str *bytes)
{
    uint64_t n;
    if (!read_varint(p, &n) || n > (uint64_t)(p->end - p->at))
        return false;
    *bytes = (struct str){(const char *)p->at, (size_t)n};
    p->at += n;
    return true;
}

static bool read_field(struct proto *p, struct proto_field *field)
{
    uint64_t tag;
    if (!read_varint(p, &tag) || tag >> 3 == 0 || tag >> 3 > UINT32_MAX)
        return false;
    *field = (struct proto_field){.number = (uint32_t)(tag >> 3)};
    switch (tag & 7) {
    case WIRE_VARINT:
        return read_varint(p, &field->value);
    case WIRE_64:
        return read_fixed(p, 8, &field->value);
    case WIRE_32:
        return read_fixed(p, 4, &field->value);
    case WIRE_BYTES:
        field->is_bytes = true;
        return read_bytes(p, &field->bytes);
    default:
        return false; /* groups, which nobody writes */
    }
}

bool proto_next(struct proto *p, struct proto_field *field)
{
    if (p->at == p->end || p->broken)
        return false;
    p->broken = !read_field(p, field);
    return !p->broken;
}
