/* Structs and texts of the host. A size is checked before anything behind it is read:
 * a header is always there, and no version of a struct will be larger than a page. */
#define _GNU_SOURCE
#include "abi_struct.h"

#include <string.h>

#define MOST_BYTES 4096u

static int32_t check_header(const inflight_hdr *h, const char *name, struct err *err)
{
    if (h->abi >> 16 != INFLIGHT_ABI_MAJOR)
        return err_set(err, INFLIGHT_E_ABI, "%s: made for ABI %u, this library serves %u", name,
                       h->abi >> 16, INFLIGHT_ABI_MAJOR);
    /* Every version ends on the alignment of its pointers, so no field is cut in two. */
    if (h->struct_size < sizeof *h || h->struct_size > MOST_BYTES || h->struct_size % 8)
        return err_set(err, INFLIGHT_E_ARG,
                       "%s: struct_size is %u, not a multiple of 8 from %u to %u", name,
                       h->struct_size, (unsigned)sizeof *h, MOST_BYTES);
    return INFLIGHT_OK;
}

int32_t struct_in(void *to, size_t known, const void *from, const char *name, struct err *err)
{
    if (!from)
        return err_set(err, INFLIGHT_E_ARG, "%s is NULL", name);
    inflight_hdr h;
    memcpy(&h, from, sizeof h);
    int32_t rc = check_header(&h, name, err);
    if (rc)
        return rc;
    const unsigned char *bytes = from;
    for (size_t i = known; i < h.struct_size; i++)
        if (bytes[i])
            return err_set(err, INFLIGHT_E_NEWER, "%s: byte %u of %u is set, this library knows %u",
                           name, (unsigned)i, h.struct_size, (unsigned)known);
    size_t n = MIN(known, h.struct_size);
    memcpy(to, from, n);
    memset((char *)to + n, 0, known - n);
    h = (inflight_hdr){(uint32_t)known, INFLIGHT_ABI};
    memcpy(to, &h, sizeof h);
    return INFLIGHT_OK;
}

int32_t struct_out_check(const void *to, const char *name, struct err *err)
{
    if (!to)
        return err_set(err, INFLIGHT_E_ARG, "%s is NULL", name);
    inflight_hdr h;
    memcpy(&h, to, sizeof h);
    return check_header(&h, name, err);
}

void struct_out(void *to, const void *from, size_t known)
{
    inflight_hdr h;
    memcpy(&h, to, sizeof h);
    size_t n = MIN(known, h.struct_size);
    memcpy((char *)to + sizeof h, (const char *)from + sizeof h, n - sizeof h);
    memset((char *)to + n, 0, h.struct_size - n);
}

int32_t str_in(struct str *out, inflight_str in, size_t most, const char *name, struct err *err)
{
    *out = (struct str){"", 0};
    if (!in.ptr && in.len)
        return err_set(err, INFLIGHT_E_ARG, "%s: a length without a pointer", name);
    if (!in.ptr)
        return INFLIGHT_OK;
    /* One byte more than allowed is enough to know. */
    size_t len = in.len == INFLIGHT_NTS ? strnlen(in.ptr, most + 1)
                                        : (size_t)MIN(in.len, (uint64_t)most + 1);
    if (len > most)
        return err_set(err, INFLIGHT_E_ARG, "%s is longer than %llu bytes", name,
                       (unsigned long long)most);
    *out = (struct str){in.ptr, len};
    return INFLIGHT_OK;
}
