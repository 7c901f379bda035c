/* Where chat templates are found. */
#include "plugin/text/chat_source.h"
#include "t.h"
#include "gguf_image.h"
#include "memory_folder.h"

static struct memory_folder folder;
static struct err err;

static void add(const char *name, const char *text)
{
    memory_folder_add(&folder, name, text, strlen(text));
}

static const char *source_of(void)
{
    static char text[64];
    struct buf out;
    bool found;
    buf_init(&out, &mem_system);
    int32_t code = chat_source_folder(&folder.folder, &out, &found, &err);
    snprintf(text, sizeof text, "%.*s", (int)out.len, out.len ? out.ptr : "");
    buf_release(&out);
    return code ? err.text : found ? text : "none";
}

TEST(chat_source, of_a_folder)
{
    static const struct {
        const char *config, *expected;
    } cases[] = {
        {"{}", "none"},
        {"{\"chat_template\":null}", "none"},
        {"{\"chat_template\":\"a\"}", "a"},
        {"{\"chat_template\":\"\"}", ""},
        {"{\"chat_template\":[{\"name\":\"tool_use\",\"template\":\"b\"},{\"name\":\"default\","
         "\"template\":\"c\"}]}",
         "c"},
    };
    memory_folder_init(&folder, &mem_system);
    CHECK_TEXT(source_of(), "none");
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        memory_folder_init(&folder, &mem_system);
        add("tokenizer_config.json", cases[i].config);
        CHECK_TEXT(source_of(), cases[i].expected);
    }
    add("chat_template.jinja", "from the file");
    CHECK_TEXT(source_of(), "from the file");
    memory_folder_init(&folder, &mem_system);
    add("tokenizer_config.json", "{\"chat_template\":[{\"name\":\"other\",\"template\":\"b\"}]}");
    CHECK(strstr(source_of(), "neither a text nor a list"));
    memory_folder_init(&folder, &mem_system);
    add("tokenizer_config.json", "{\"chat_template\":3}");
    CHECK(strstr(source_of(), "neither a text nor a list"));
    memory_folder_init(&folder, &mem_system);
    add("tokenizer_config.json", "{");
    CHECK(strstr(source_of(), "tokenizer_config.json:1:"));
}

TEST(chat_source, of_a_gguf_file)
{
    static struct image image;
    struct arena arena;
    struct gguf g;
    for (int has = 0; has < 2; has++) {
        struct buf out;
        bool found;
        size_t need;
        begin(&image, 3, 0, 1);
        put_key(&image, has ? "tokenizer.chat_template" : "another", GGUF_STRING);
        put_string(&image, "{{ bos_token }}");
        put_data(&image, 32, 0);
        arena_init(&arena, &mem_system);
        buf_init(&out, &mem_system);
        CHECK_EQ(gguf_parse(&g, image.bytes, image.n, image.n, &arena, &need, &err), 0);
        CHECK_EQ(chat_source_gguf(&g, &out, &found, &err), 0);
        CHECK_EQ(found, has);
        CHECK_EQ(out.len, has ? 15 : 0);
        buf_release(&out);
        arena_release(&arena);
    }
}
