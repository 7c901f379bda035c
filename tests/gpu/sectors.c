#include "sectors.h"

#include <pthread.h>
#include <stdlib.h>

#define CHUNK   2048 /* sectors */
#define BUCKETS 4096

/* The launch that last touched each sector. */
struct chunk {
    struct chunk *next; /* in its bucket */
    uint64_t number;    /* its first sector / CHUNK */
    uint32_t launch[2][CHUNK];
};

static struct {
    pthread_mutex_t lock;
    uint32_t launches;
    struct chunk *bucket[BUCKETS];
} table = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Taken when it is not there; NULL: no memory. */
static struct chunk *chunk_of(uint64_t sector)
{
    struct chunk **bucket = &table.bucket[sector / CHUNK % BUCKETS];
    for (struct chunk *chunk = *bucket; chunk; chunk = chunk->next)
        if (chunk->number == sector / CHUNK)
            return chunk;
    struct chunk *chunk = calloc(1, sizeof *chunk);
    if (!chunk)
        return NULL;
    chunk->number = sector / CHUNK;
    chunk->next = *bucket;
    return *bucket = chunk;
}

uint32_t sectors_launch(void)
{
    pthread_mutex_lock(&table.lock);
    uint32_t number = ++table.launches;
    pthread_mutex_unlock(&table.lock);
    return number;
}

uint32_t sectors_touch(uint32_t launch, const uint64_t *sector, uint32_t n, bool writes)
{
    uint32_t fresh = 0;
    pthread_mutex_lock(&table.lock);
    for (uint32_t i = 0; i < n; i++) {
        struct chunk *chunk = chunk_of(sector[i]);
        uint32_t *last = chunk ? &chunk->launch[writes][sector[i] % CHUNK] : NULL;
        if (last && *last != launch) {
            *last = launch;
            fresh++;
        }
    }
    pthread_mutex_unlock(&table.lock);
    return fresh;
}

void sectors_end(void)
{
    for (uint32_t i = 0; i < BUCKETS; i++)
        for (struct chunk *chunk = table.bucket[i], *next; chunk; chunk = next) {
            next = chunk->next;
            free(chunk);
        }
}
