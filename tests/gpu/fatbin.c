/* The layout is not documented; the one of nvcc 13.0, as its output shows it. */
#include "fatbin.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WRAPPER_MAGIC UINT32_C(0x466243b1)
#define FATBIN_MAGIC  UINT32_C(0xba55ed50)
#define ELF_MAGIC     UINT32_C(0x464c457f)

#define KIND_PTX       1
#define FLAG_LZ4       UINT64_C(0x2000)
#define FLAG_ZSTD      UINT64_C(0x8000)
#define FLAG_THIS_ARCH UINT64_C(0x100000) /* compute_90a: for no other architecture */

/* Far above any PTX there is: what an uncompressed size may say. */
#define TEXT_MOST (UINT64_C(1) << 30)

struct wrapper {
    uint32_t magic, version;
    const void *fatbin;
    const void *file;
};

struct header {
    uint32_t magic;
    uint16_t version, header_bytes;
    uint64_t bytes; /* of the entries, behind the header */
};

struct entry {
    uint16_t kind, version;
    uint32_t header_bytes;
    uint64_t payload_bytes; /* behind this header, with padding */
    uint32_t compressed_bytes, options;
    uint16_t minor, major;
    uint32_t arch, unused[2];
    uint64_t flags, unused2;
    uint64_t text_bytes; /* uncompressed, 0 if it is not compressed */
};

_Static_assert(sizeof(struct header) == 16 && sizeof(struct entry) == 64, "nvcc's layout");

static bool suits(const struct entry *entry, int capability)
{
    if (entry->kind != KIND_PTX)
        return false;
    if (entry->flags & FLAG_THIS_ARCH)
        return entry->arch == (uint32_t)capability;
    return entry->arch <= (uint32_t)capability;
}

/* The entry for the highest architecture that suits; NULL: none. It is copied into entry, the
 * result is its place. */
static const uint8_t *choose(const uint8_t *fatbin, int capability, struct entry *entry)
{
    struct header header;
    const uint8_t *best = NULL;
    memcpy(&header, fatbin, sizeof header);
    const uint8_t *at = fatbin + header.header_bytes;
    uint64_t left = header.bytes;
    while (left >= sizeof *entry) {
        struct entry next;
        memcpy(&next, at, sizeof next);
        if (next.header_bytes < sizeof next || next.header_bytes > left ||
            next.payload_bytes > left - next.header_bytes)
            return best;
        if (suits(&next, capability) && (!best || next.arch > entry->arch)) {
            best = at;
            *entry = next;
        }
        at += next.header_bytes + next.payload_bytes;
        left -= next.header_bytes + next.payload_bytes;
    }
    return best;
}

struct lz4 {
    const uint8_t *at, *end;
    uint8_t *out;
    size_t n, room;
};

/* A length of 15 goes on in bytes until one that is not 255. False: the input ends. */
static bool lz4_length(struct lz4 *z, size_t *length)
{
    uint8_t more = 255;
    if (*length != 15)
        return true;
    while (more == 255) {
        if (z->at == z->end)
            return false;
        more = *z->at++;
        *length += more;
    }
    return true;
}

static bool lz4_literals(struct lz4 *z, size_t length)
{
    if (!lz4_length(z, &length) || length > (size_t)(z->end - z->at) || length > z->room - z->n)
        return false;
    memcpy(z->out + z->n, z->at, length);
    z->at += length;
    z->n += length;
    return true;
}

static bool lz4_match(struct lz4 *z, size_t length)
{
    if (z->end - z->at < 2)
        return false;
    size_t back = (size_t)z->at[0] | (size_t)z->at[1] << 8;
    z->at += 2;
    if (!lz4_length(z, &length) || back == 0 || back > z->n || length + 4 > z->room - z->n)
        return false;
    for (size_t k = 0; k < length + 4; k++, z->n++)
        z->out[z->n] = z->out[z->n - back];
    return true;
}

/* A block as the LZ4 block format describes it; true if it fills the room. */
static bool lz4_unpack(struct lz4 *z)
{
    while (z->at < z->end) {
        uint8_t token = *z->at++;
        if (!lz4_literals(z, token >> 4))
            return false;
        if (z->at < z->end && !lz4_match(z, token & 15))
            return false;
    }
    return z->n == z->room;
}

static const char *unpack(const struct entry *entry, const uint8_t *payload, void **owned,
                          char *error, size_t error_bytes)
{
    if (entry->compressed_bytes > entry->payload_bytes || entry->text_bytes > TEXT_MOST) {
        snprintf(error, error_bytes, "the fatbin's PTX has impossible sizes");
        return NULL;
    }
    struct lz4 z = {payload, payload + entry->compressed_bytes, NULL, 0, entry->text_bytes};
    z.out = malloc(z.room + 1);
    if (!z.out || !lz4_unpack(&z)) {
        free(z.out);
        snprintf(error, error_bytes, "the fatbin's PTX cannot be uncompressed");
        return NULL;
    }
    *owned = z.out;
    return (const char *)z.out;
}

static const char *from_fatbin(const uint8_t *fatbin, int capability, size_t *bytes, void **owned,
                               char *error, size_t error_bytes)
{
    struct entry entry = {0};
    const uint8_t *place = choose(fatbin, capability, &entry);
    if (!place) {
        snprintf(error, error_bytes, "the fatbin has no PTX for sm_%d or below", capability);
        return NULL;
    }
    const uint8_t *payload = place + entry.header_bytes;
    if (entry.flags & FLAG_ZSTD) {
        snprintf(error, error_bytes,
                 "the fatbin's PTX is compressed with zstd; build it with --compress-mode=none");
        return NULL;
    }
    const char *text = (const char *)payload;
    uint64_t most = entry.payload_bytes;
    if (entry.flags & FLAG_LZ4) {
        text = unpack(&entry, payload, owned, error, error_bytes);
        most = entry.text_bytes;
    }
    /* Zeros pad the payload. */
    if (text)
        *bytes = strnlen(text, (size_t)most);
    return text;
}

const char *fatbin_ptx(const void *image, int capability, size_t *bytes, void **owned, char *error,
                       size_t error_bytes)
{
    uint32_t magic = 0;
    *owned = NULL;
    *bytes = 0;
    /* A text shorter than the magic number ends with its 0. */
    memcpy(&magic, image, strnlen(image, sizeof magic));
    if (magic == WRAPPER_MAGIC) {
        struct wrapper wrapper;
        memcpy(&wrapper, image, sizeof wrapper);
        image = wrapper.fatbin;
        memcpy(&magic, image, sizeof magic);
    }
    if (magic == FATBIN_MAGIC)
        return from_fatbin(image, capability, bytes, owned, error, error_bytes);
    if (magic == ELF_MAGIC) {
        snprintf(error, error_bytes, "a cubin holds machine code and no PTX");
        return NULL;
    }
    *bytes = strlen(image);
    return image;
}
