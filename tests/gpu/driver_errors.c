/* Names of errors. */
#include "driver.h"

static const struct {
    CUresult code;
    const char *name, *text;
} errors[] = {
#define ERROR(name, text) {name, #name, text},
#include "driver_errors.def"
#undef ERROR
};

static CUresult find(CUresult code, const char **name, const char **text)
{
    if (!name || !text)
        return CUDA_ERROR_INVALID_VALUE;
    *name = *text = NULL;
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        if (errors[i].code != code)
            continue;
        *name = errors[i].name;
        *text = errors[i].text;
        return CUDA_SUCCESS;
    }
    return CUDA_ERROR_INVALID_VALUE;
}

/* Both may be called before cuInit, and with the device lost. */
CUresult cuGetErrorName(CUresult code, const char **out)
{
    const char *text;
    return find(code, out, &text);
}

CUresult cuGetErrorString(CUresult code, const char **out)
{
    const char *name;
    return find(code, &name, out);
}
