/* What the back end's own files share beyond cuda.h: contexts, memory, opening. */
#pragma once

#include "cuda.h"

/* Every entry of the back end runs between these two: the context is current on the calling
 * thread, which may be any, and afterwards what was current before is current again. False: the
 * driver refused, and there is nothing to leave. What other threads of the host capture into
 * graphs meanwhile is none of the calling thread's business from here on: its calls are neither
 * refused for it nor spoil it. */
bool cuda_enter(const struct device *device);
void cuda_leave(const struct device *device);

/* cuda_enter for a step, by the engine's thread alone: a context that cannot be entered is lost. */
bool cuda_enter_step(struct device *device);

/* The card: number, capability, sizes and the description. It is the one that device->config's
 * context is of; device 0 without one. */
int32_t cuda_find_device(const struct driver *driver, struct device *device, struct err *err);

/* Bytes of the card that are free for whoever asks first. Makes a context for the question if
 * neither the configuration nor the process has one. */
int32_t cuda_free_bytes(const struct device_config *config, uint64_t *bytes, struct err *err);

/* Everything but the checks of a configuration. */
int32_t cuda_open_device(const struct device_config *config, const struct mem *mem,
                         struct device **device, struct err *err);
void cuda_close_device(struct device *device); /* NULL is allowed */

/* The oldest cards whose instructions the kernels are written for. */
#define CAPABILITY_LEAST 80
/* From here on kernels overlap with those before them, depend.cuh. */
#define CAPABILITY_OVERLAP 90

/* Queues a kernel at once. args is copied. */
CUresult cuda_queue(struct device *device, enum kernel kernel, const struct grid *grid, void *args);

/* What comes before a step's operations: it fills this half of the arrays that there are two of. */
void cuda_begin_step(struct device *device, int32_t parity);

/* The first failure goes into the description, for the log. */
void cuda_note_failure(struct device *device, CUresult result);

/* Waits for the stream. An error here is of the context: nothing will work in it again. */
int cuda_wait(struct device *device);

/* memory.c. Between enter and leave; zero bytes give 0 and NULL. */
int32_t cuda_alloc(struct device *device, uint64_t bytes, const char *what, CUdeviceptr *out,
                   struct err *err);
void cuda_free(struct device *device, CUdeviceptr *memory);
int32_t cuda_alloc_pinned(struct device *device, size_t bytes, const char *what, void **out,
                          struct err *err);
void cuda_free_pinned(struct device *device, void **memory);

/* memory.c, upload.c: as in struct backend. */
void *cuda_take(struct device *device, size_t bytes);
void cuda_give(struct device *device, void *memory, size_t bytes);
void *cuda_take_host(struct device *device, size_t bytes);
void cuda_give_host(struct device *device, void *memory, size_t bytes);
int32_t cuda_write(struct device *device, void *to, const void *from, size_t bytes);
int32_t cuda_read(struct device *device, void *to, const void *from, size_t bytes);
int cuda_fetch(struct lane *lane, void *to, const void *from, size_t bytes);
int32_t cuda_upload(struct device *device, const struct weight_source *source, struct weight *out,
                    struct err *err);

/* Gives back what uploads took; between enter and leave. The second the host's part alone, even
 * if there is no entering. */
void cuda_close_upload(struct device *device);
void cuda_free_upload(struct device *device);

/* The kernels, one image of all architectures for each .cu file, that make embeds; a file's name is
 * what the names of its kernels begin with. The last has no name. */
struct cuda_image {
    const char *file; /* without .cu */
    const void *image;
};
extern const struct cuda_image cuda_images[];
