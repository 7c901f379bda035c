/* What a path is: a folder with a config.json or a GGUF file, mapped or behind the host's hooks. */
#define _DEFAULT_SOURCE
#include "t.h"

#include "folder_image.h"
#include "plugin/model/checkpoint.h"

#include <sys/stat.h>
#include <unistd.h>

static struct err err;
static struct folder_image image;
static uint8_t weights[256];

static const char config[] = "{\"model_type\": \"llama\"}";
static const char header[] =
    "{\"a\": {\"dtype\": \"F32\", \"shape\": [2, 1], \"data_offsets\": [0, 8]}}";
static const uint8_t gguf[32] = {'G', 'G', 'U', 'F', 3};

/* Opens m and closes it again; c says what it was. */
static int32_t open_image(struct checkpoint *c)
{
    static inflight_io io;
    struct arena arena;
    io = image_io(&image);
    err = (struct err){0};
    arena_init(&arena, &mem_system);
    int32_t rc = checkpoint_open(c, "m", &io, &arena, &err);
    CHECK_EQ(err.code, rc);
    if (!rc) {
        CHECK_EQ(c->tensors.n_files, 1);
        checkpoint_close_files(c);
        CHECK_EQ(image.open, 0);
        CHECK_EQ(c->n_files, 1);
        CHECK(!c->config == !c->folder.path);
    }
    checkpoint_close(c);
    CHECK_EQ(image.open, 0);
    CHECK(!c->config);
    arena_release(&arena);
    return rc;
}

static void make_folder(void)
{
    image = (struct folder_image){0};
    image_put(&image, "m/config.json", config, strlen(config));
    image_put(&image, "m/model.safetensors", weights,
              image_safetensors(weights, sizeof weights, header, 8));
}

TEST(checkpoint, a_folder_is_what_has_a_config)
{
    struct checkpoint c;
    make_folder();
    CHECK_EQ(open_image(&c), 0);
    CHECK(c.folder.path && c.tensors.naming == NAMING_HUGGING_FACE && c.tensors.n == 1);
    image_put(&image, "m", gguf, sizeof gguf); /* even if it could be read as a file */
    CHECK_EQ(open_image(&c), 0);
    CHECK(c.folder.path != NULL);
}

TEST(checkpoint, all_else_is_a_file)
{
    struct checkpoint c;
    image = (struct folder_image){0};
    image_put(&image, "m", gguf, sizeof gguf);
    CHECK_EQ(open_image(&c), 0);
    CHECK(!c.folder.path && c.tensors.naming == NAMING_GGUF && c.tensors.n == 0);
    image_put(&image, "m", "PK\3\4", 4);
    CHECK_EQ(open_image(&c), INFLIGHT_E_MODEL);
}

TEST(checkpoint, what_is_neither_is_said_to_be_neither)
{
    struct checkpoint c;
    image = (struct folder_image){0};
    CHECK_EQ(open_image(&c), INFLIGHT_E_IO);
    CHECK_TEXT(err.text, "neither a folder with a config.json nor a file: m: the open hook did not "
                         "find it");
}

TEST(checkpoint, a_broken_folder_is_not_taken_for_a_file)
{
    struct checkpoint c;
    make_folder();
    image_put(&image, "m/config.json", "{\"model_type\": ", 15);
    CHECK_EQ(open_image(&c), INFLIGHT_E_MODEL);
    CHECK_TEXT(err.text, "m/config.json:1:15: unexpected token near end of file");
    image_put(&image, "m/config.json", "[1]", 3);
    CHECK_EQ(open_image(&c), INFLIGHT_E_MODEL);
    CHECK_TEXT(err.text, "m/config.json: is not a JSON object");
    make_folder();
    image.unreadable = "m/config.json";
    CHECK_EQ(open_image(&c), INFLIGHT_E_IO);
    image = (struct folder_image){0};
    image_put(&image, "m/config.json", config, strlen(config));
    CHECK_EQ(open_image(&c), INFLIGHT_E_MODEL);
    CHECK_TEXT(err.text, "m: has neither model.safetensors nor model.safetensors.index.json: "
                         "weights in other files are not served");
}

TEST(checkpoint, json_of_absurd_size_is_not_read)
{
    struct checkpoint c;
    make_folder();
    image_put(&image, "m/config.json", config, (size_t)FOLDER_JSON_MAX + 1);
    CHECK_EQ(open_image(&c), INFLIGHT_E_MODEL);
    CHECK_TEXT(err.text, "m/config.json: has 268435457 bytes, at most 268435456 are read");
    CHECK_EQ(image.reads, 0);
}

TEST(checkpoint, a_path_that_is_too_long_is_an_error_that_shows_its_end)
{
    static char path[5000];
    struct checkpoint c;
    struct arena arena;
    memset(path, 'p', sizeof path - 1);
    arena_init(&arena, &mem_system);
    CHECK(checkpoint_open(&c, path, NULL, &arena, &err) == INFLIGHT_E_IO);
    CHECK(strstr(err.text, "ppp: cannot be opened: File name too long"));
    checkpoint_close(&c);
    arena_release(&arena);
}

static void write_file(const char *folder, const char *name, const void *bytes, size_t n)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    CHECK(f && fwrite(bytes, 1, n, f) == n);
    if (f)
        fclose(f);
}

TEST(checkpoint, a_folder_on_disk_is_mapped)
{
    char folder[] = "/tmp/inflight-folder-XXXXXX", path[64];
    struct checkpoint c;
    struct arena arena;
    CHECK(mkdtemp(folder));
    arena_init(&arena, &mem_system);
    CHECK_EQ(checkpoint_open(&c, folder, NULL, &arena, &err), INFLIGHT_E_IO);
    CHECK(
        strstr(err.text, "neither a folder with a config.json nor a file: /tmp/inflight-folder-"));
    CHECK(strstr(err.text, ": is a folder, not a file"));
    checkpoint_close(&c);
    size_t n = image_safetensors(weights, sizeof weights, header, 8);
    write_file(folder, "config.json", config, strlen(config));
    write_file(folder, "model.safetensors", weights, n);
    snprintf(path, sizeof path, "%s/", folder);
    CHECK_EQ(checkpoint_open(&c, path, NULL, &arena, &err), 0);
    const struct tensor *a = tensors_find(&c.tensors, "a");
    CHECK(a && a->offset == n - 8);
    const float *view = tensors_view(&c.tensors, a, NULL, &err);
    CHECK(view && memcmp(view, weights + n - 8, 8) == 0);
    checkpoint_close(&c);
    arena_release(&arena);
    write_file(folder, "x", "", 0);
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", folder,
                 ((const char *const[]){"config.json", "model.safetensors", "x"})[i]);
        CHECK_EQ(unlink(path), 0);
    }
    CHECK_EQ(rmdir(folder), 0);
}
