/* examples/inflight.yaml and its JSON Schema say what the rows of the configuration say.
 * Both are compared whole; what they should be is written to build/ when they differ. */
#include "t.h"

#include "plugin/config/config_value.h"

#include <jansson.h>
#include <stdlib.h>

#define SAMPLE "examples/inflight.yaml"
#define SCHEMA "examples/inflight.schema.json"

static char *read_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        return NULL;
    char *text = calloc(1, 1 << 20);
    if (text && fread(text, 1, (1 << 20) - 1, file) == 0)
        text[0] = 0;
    fclose(file);
    return text;
}

static void write_wanted(const char *path, const char *text, size_t len)
{
    FILE *file = fopen(path, "wb");
    if (!file)
        return;
    fwrite(text, 1, len, file);
    fclose(file);
    printf("  what it should be: %s\n", path);
}

static json_t *number(double value)
{
    return value == (double)(long long)value ? json_integer((long long)value) : json_real(value);
}

/* The default as the JSON type of the row, NULL if there is none. */
static json_t *default_of(const struct config_row *row, const struct config *config)
{
    if (!row->unset || !*row->unset)
        return NULL;
    struct buf text;
    buf_init(&text, &mem_system);
    config_value_put(config, row, &text);
    buf_put_char(&text, 0);
    json_t *value = json_loads(text.ptr, JSON_DECODE_ANY, NULL);
    if (!value)
        value = json_string(text.ptr);
    buf_release(&text);
    return value;
}

static json_t *schema_of_names(const struct config_row *row)
{
    json_t *names = json_array();
    for (size_t i = 0; row->names[i]; i++)
        json_array_append_new(names, json_string(row->names[i]));
    return json_pack("{s:o}", "enum", names);
}

static json_t *schema_of_row(const struct config_row *row, const struct config *config)
{
    static const char *const size = "^[0-9]+(\\.[0-9]{1,6})? *(B|[kKMGT]B|[KMGT]iB)?$";
    json_t *schema = NULL;
    switch (row->kind) {
    case CONFIG_VERSION:
        schema = json_pack("{s:i}", "const", 1);
        break;
    case CONFIG_INT:
    case CONFIG_LONG:
    case CONFIG_SEED:
        schema = json_pack("{s:s,s:o,s:o}", "type", "integer", "minimum", number(row->min),
                           "maximum", number(row->max));
        break;
    case CONFIG_FLOAT:
        schema = json_pack("{s:s,s:o,s:o}", "type", "number", "minimum", number(row->min),
                           "maximum", number(row->max));
        break;
    case CONFIG_SIZE:
    case CONFIG_SIZE_32:
        schema = json_pack("{s:[ss],s:o,s:o,s:s}", "type", "integer", "string", "minimum",
                           number(row->min), "maximum", number(row->max), "pattern", size);
        break;
    case CONFIG_BOOL:
        schema = json_pack("{s:s}", "type", "boolean");
        break;
    case CONFIG_NAME:
    case CONFIG_WORD:
        schema = schema_of_names(row);
        break;
    case CONFIG_PATH:
        schema = json_pack("{s:s,s:i}", "type", "string", "minLength", 1);
        break;
    }
    json_object_set_new(schema, "description", json_string(row->doc));
    json_t *value = default_of(row, config);
    if (value)
        json_object_set_new(schema, "default", value);
    return schema;
}

/* A section may be empty, unless a key in it is required. */
static json_t *new_object(bool may_be_empty)
{
    json_t *object = json_object();
    json_object_set_new(object, "type",
                        may_be_empty ? json_pack("[ss]", "object", "null") : json_string("object"));
    json_object_set_new(object, "additionalProperties", json_false());
    json_object_set_new(object, "properties", json_object());
    return object;
}

static void require(json_t *object, const char *key)
{
    if (!json_object_get(object, "required"))
        json_object_set_new(object, "required", json_array());
    json_array_append_new(json_object_get(object, "required"), json_string(key));
    json_object_set_new(object, "type", json_string("object"));
}

static json_t *schema_of_rows(const struct config *config)
{
    json_t *root = new_object(false);
    json_object_set_new(root, "$schema",
                        json_string("https://json-schema.org/draft/2020-12/schema"));
    json_object_set_new(root, "title", json_string("Configuration of Inflight, version 1"));
    for (size_t i = 0; i < CONFIG_ROWS; i++) {
        const struct config_row *row = &config_rows[i];
        json_t *parent = root, *sections = json_object_get(root, "properties");
        if (row->section) {
            if (!json_object_get(sections, row->section))
                json_object_set_new(sections, row->section, new_object(true));
            parent = json_object_get(sections, row->section);
        }
        json_object_set_new(json_object_get(parent, "properties"), row->key,
                            schema_of_row(row, config));
        if (row->unset)
            continue;
        require(parent, row->key);
        if (parent != root)
            require(root, row->section);
    }
    return root;
}

static int32_t parse(struct config *config, const char *text, struct arena *arena)
{
    struct err err = {0};
    int32_t code = config_parse(config, (struct str){text, strlen(text)}, NULL, arena, &err);
    if (code)
        t_fail(__FILE__, __LINE__, "%s", err.text);
    return code;
}

/* The file must be its own leading comment and then what config_print says of text;
 * NULL: of the file itself. */
static void check_sample(const char *text)
{
    struct arena arena;
    arena_init(&arena, &mem_system);
    struct buf printed;
    buf_init(&printed, &mem_system);
    struct config config;
    char *sample = read_file(SAMPLE);
    CHECK(sample != NULL);
    if (sample && !parse(&config, text ? text : sample, &arena)) {
        const char *body = strstr(sample, "\n\n");
        buf_put(&printed, sample, body ? (size_t)(body - sample) + 2 : 0);
        config_print(&config, &printed);
        bool same = printed.len == strlen(sample) && !memcmp(printed.ptr, sample, printed.len);
        CHECK(same);
        if (!same)
            write_wanted("build/inflight.yaml", printed.ptr, printed.len);
    }
    free(sample);
    buf_release(&printed);
    arena_release(&arena);
}

TEST(config_examples, the_sample_reads_back_as_itself)
{
    check_sample(NULL);
}

TEST(config_examples, the_sample_sets_nothing_but_the_defaults)
{
    check_sample("{version: 1, model: {path: SmolLM2-135M-Instruct.Q4_1.gguf}}");
}

TEST(config_examples, the_schema_says_what_the_rows_say)
{
    struct arena arena;
    arena_init(&arena, &mem_system);
    struct config config;
    json_t *schema = json_load_file(SCHEMA, 0, NULL);
    CHECK(schema != NULL);
    if (!parse(&config, "{version: 1, model: {path: m.gguf}}", &arena)) {
        json_t *wanted = schema_of_rows(&config);
        CHECK(json_equal(schema, wanted));
        if (!json_equal(schema, wanted)) {
            char *text = json_dumps(wanted, JSON_INDENT(2));
            write_wanted("build/inflight.schema.json", text, strlen(text));
            free(text);
        }
        json_decref(wanted);
    }
    json_decref(schema);
    arena_release(&arena);
}
