/* A warp's cp.async operations that are not waited for. The executor opens one for each warp
 * it has room for (warp->async), resets it whenever the warp starts on another CTA, whether the
 * CTA before ended well or by a fault, and closes it at the end. Copies in flight when the CTA
 * ends are legal: they are forgotten, their bytes belong to nobody any more.
 *
 * Groups are per thread, as in the text (PTX ISA 9.0, cp.async.commit_group): every lane counts
 * the groups it has committed, every copy of a lane carries the number of its group. So lanes of
 * a warp may commit and wait apart from each other.
 *
 * The bytes are marked in flight when the copy is issued and move when its lane waits: the
 * earliest moment at which the destination is lost and the latest at which it is filled. */
#pragma once

#include <stddef.h>

struct async;

struct async *async_open(void); /* NULL: no memory */
void async_reset(struct async *async);
void async_close(struct async *async); /* NULL is fine */

/* Copies issued and not waited for, counted by lane. */
size_t async_pending(const struct async *async);
