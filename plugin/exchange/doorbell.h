/* A level in a descriptor: an eventfd that is readable exactly while a ring has events
 * to hand out, kept without a lock between the producer and the polling thread. */
#pragma once

#include "../base/err.h"

#include <stdatomic.h>

struct doorbell {
    int fd;                 /* -1: not open */
    _Atomic uint32_t state; /* see doorbell.c */
};

int32_t doorbell_open(struct doorbell *bell, struct err *err);
void doorbell_close(struct doorbell *bell);

/* Something was published. wanted(what): it has not been taken meanwhile. True: this
 * call went from none to some. [producer] */
bool doorbell_ring(struct doorbell *bell, bool (*wanted)(const void *what), const void *what);

/* Events may be handed out. [consumer] */
bool doorbell_rung(struct doorbell *bell);

/* The consumer found nothing more: lower, look once more, then drain, or keep if that
 * look found something. */
void doorbell_lower(struct doorbell *bell); /* only when rung */
void doorbell_drain(struct doorbell *bell);
void doorbell_keep(struct doorbell *bell);

/* Waits until the descriptor is readable or until deadline_ns. [consumer] */
void doorbell_wait(struct doorbell *bell, uint64_t deadline_ns);

/* Makes the descriptor readable for good, to end a wait. [any thread] */
void doorbell_break(struct doorbell *bell);
