/* The sentence of a thread's last failed init, where there is no engine to ask. */
#pragma once

#include "../base/err.h"

void thread_error_set(const struct err *err);

/* Empty if this thread's init did not fail, or too many other threads' did since. */
void thread_error_get(struct err *err);
