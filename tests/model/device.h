/* What the environment says of a test. TEST_DEVICE: where its models run, a kind of the
 * configuration's device.kind; the CPU without it, whatever else the machine has. TEST_MODEL:
 * the file of session.h's model. */
#pragma once

#include <stdlib.h>

static inline const char *test_device(void)
{
    const char *device = getenv("TEST_DEVICE");
    return device && *device ? device : "cpu";
}

static inline const char *test_model(const char *usual)
{
    const char *path = getenv("TEST_MODEL");
    return path && *path ? path : usual;
}
