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

/* ---- Text models in such that also see */

/* A folder of tensors of one number each. */
static int32_t open_seeing(struct checkpoint *c, struct arena *arena, const char *text,
                           const char *const *name, size_t n)
{
    static uint8_t file[2048];
    static inflight_io io;
    char names[1024] = "{";
    for (size_t i = 0, at = 1; i < n; i++)
        at += (size_t)snprintf(names + at, sizeof names - at,
                               "%s\"%s\": {\"dtype\": \"F32\", \"shape\": [1], "
                               "\"data_offsets\": [%zu, %zu]}%s",
                               i ? ", " : "", name[i], 4 * i, 4 * i + 4, i + 1 == n ? "}" : "");
    image = (struct folder_image){0};
    image_put(&image, "m/config.json", text, strlen(text));
    image_put(&image, "m/model.safetensors", file,
              image_safetensors(file, sizeof file, names, 4 * n));
    io = image_io(&image);
    err = (struct err){0};
    return checkpoint_open(c, "m", &io, arena, &err);
}

static int64_t number(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

TEST(checkpoint, the_text_model_of_one_that_sees_is_found_by_its_names)
{
    static const char *const old[] = {"language_model.model.norm.weight",
                                      "vision_tower.vision_model.head.norm.weight",
                                      "language_model.lm_head.weight"};
    static const char *const today[] = {"model.language_model.norm.weight",
                                        "model.vision_tower.norm.weight", "lm_head.weight"};
    static const char seeing[] = "{\"model_type\": \"gemma3\", \"tie_word_embeddings\": false, "
                                 "\"text_config\": {\"num_hidden_layers\": 34, "
                                 "\"num_attention_heads\": 16}, \"vision_config\": {}}";
    const char *const *const names[] = {old, today};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        struct checkpoint c;
        struct arena arena;
        arena_init(&arena, &mem_system);
        CHECK_EQ(open_seeing(&c, &arena, seeing, names[i], 3), 0);
        CHECK(number(c.config, "num_hidden_layers") == 34 && number(c.config, "head_dim") == 256);
        CHECK(number(c.config, "num_attention_heads") == 16);
        CHECK_TEXT(json_string_value(json_object_get(c.config, "model_type")), "gemma3_text");
        CHECK(json_is_false(json_object_get(c.config, "tie_word_embeddings")));
        CHECK(json_object_get(c.whole, "vision_config") && !json_object_get(c.whole, "head_dim"));
        const struct tensor *norm = tensors_find(&c.tensors, "model.norm.weight");
        CHECK(norm && norm->name.len == strlen(names[i][0]) && !norm->is_apart);
        CHECK(tensors_find(&c.tensors, "lm_head.weight") == &c.tensors.tensor[2]);
        CHECK(c.tensors.tensor[1].is_apart && !tensors_find(&c.tensors, names[i][1]));
        checkpoint_close(&c);
        arena_release(&arena);
    }
}

/* Tables and norms of its layers' own embeddings stand beside the layers; what it hears and sees
 * with has names that begin alike. */
TEST(checkpoint, the_text_model_of_gemma_4_has_embeddings_of_its_layers)
{
    static const char *const names[] = {"model.language_model.embed_tokens_per_layer.weight",
                                        "model.language_model.per_layer_model_projection.weight",
                                        "model.language_model.layers.0.layer_scalar",
                                        "model.embed_vision.embedding_projection.weight",
                                        "model.audio_tower.layers.0.norm_out.weight"};
    static const struct {
        const char *whole, *part;
    } kinds[] = {{"gemma4", "gemma4_text"}, {"gemma4_unified", "gemma4_unified_text"}};
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        struct checkpoint c;
        struct arena arena;
        char text[256];
        snprintf(text, sizeof text,
                 "{\"model_type\": \"%s\", \"text_config\": {\"num_hidden_layers\": 35}}",
                 kinds[i].whole);
        arena_init(&arena, &mem_system);
        CHECK_EQ(open_seeing(&c, &arena, text, names, COUNT_OF(names)), 0);
        CHECK_TEXT(json_string_value(json_object_get(c.config, "model_type")), kinds[i].part);
        CHECK_EQ(number(c.config, "hidden_size_per_layer_input"), i ? 0 : 256);
        CHECK(number(c.config, "num_hidden_layers") == 35 && number(c.config, "head_dim") == 256);
        CHECK(tensors_find(&c.tensors, "model.embed_tokens_per_layer.weight"));
        CHECK(tensors_find(&c.tensors, "model.per_layer_model_projection.weight"));
        CHECK(tensors_find(&c.tensors, "model.layers.0.layer_scalar"));
        CHECK(c.tensors.tensor[3].is_apart && c.tensors.tensor[4].is_apart);
        checkpoint_close(&c);
        arena_release(&arena);
    }
}

TEST(checkpoint, the_text_model_may_have_no_part_of_its_own)
{
    static const char *const names[] = {"model.norm.weight", "visual.blocks.0.norm1.weight"};
    struct checkpoint c;
    struct arena arena;
    arena_init(&arena, &mem_system);
    CHECK_EQ(open_seeing(&c, &arena,
                         "{\"model_type\": \"qwen2_5_vl\", \"hidden_size\": 64, "
                         "\"architectures\": [\"Qwen2_5_VLForConditionalGeneration\"]}",
                         names, 2),
             0);
    CHECK_TEXT(json_string_value(json_object_get(c.config, "model_type")), "qwen2");
    CHECK(number(c.config, "hidden_size") == 64 && !json_object_get(c.config, "architectures"));
    CHECK(tensors_find(&c.tensors, "model.norm.weight") && c.tensors.tensor[1].is_apart);
    checkpoint_close(&c);
    arena_release(&arena);
}

/* Of Ministral 3 the part says no where the whole says yes. */
TEST(checkpoint, either_may_say_that_the_head_is_the_embedding)
{
    static const char *const names[] = {"language_model.model.norm.weight"};
    static const char *const says[][2] = {{"true", "false"}, {"false", "true"}, {"false", "false"}};
    for (size_t i = 0; i < COUNT_OF(says); i++) {
        char text[256];
        struct checkpoint c;
        struct arena arena;
        snprintf(text, sizeof text,
                 "{\"model_type\": \"mistral3\", \"tie_word_embeddings\": %s, "
                 "\"text_config\": {\"tie_word_embeddings\": %s}}",
                 says[i][0], says[i][1]);
        arena_init(&arena, &mem_system);
        CHECK_EQ(open_seeing(&c, &arena, text, names, 1), 0);
        CHECK_EQ(json_is_true(json_object_get(c.config, "tie_word_embeddings")), i < 2);
        checkpoint_close(&c);
        arena_release(&arena);
    }
}

TEST(checkpoint, two_tensors_that_are_one_of_the_text_model_are_refused)
{
    static const char *const names[] = {"language_model.model.norm.weight",
                                        "model.language_model.norm.weight"};
    struct checkpoint c;
    struct arena arena;
    arena_init(&arena, &mem_system);
    CHECK_EQ(
        open_seeing(&c, &arena, "{\"model_type\": \"mistral3\", \"text_config\": 3}", names, 2),
        INFLIGHT_E_MODEL);
    CHECK_TEXT(err.text, "two tensors are model.norm.weight of the text model");
    checkpoint_close(&c);
    arena_release(&arena);
}
