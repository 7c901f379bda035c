/* The configuration: every key set and read back, and every refusal with its place. */
#include "t.h"

#include "kernels/backend.h"
#include "plugin/base/thread.h"
#include "plugin/config/config_value.h"

#include <locale.h>

#define HEAD "version: 1\nmodel:\n  path: m.gguf\n"

static struct arena arena;
static struct config config;
static struct err err;

static int32_t parse_bytes(const char *yaml, size_t len, const char *name)
{
    arena_release(&arena);
    arena_init(&arena, &mem_system);
    memset(&config, 0xee, sizeof config);
    err = (struct err){0};
    return config_parse(&config, (struct str){yaml, len}, name, &arena, &err);
}

static int32_t parse(const char *yaml)
{
    return parse_bytes(yaml, strlen(yaml), NULL);
}

static void accept(const char *yaml)
{
    if (parse(yaml))
        t_fail(__FILE__, __LINE__, "refused: %s", err.text);
}

static void refuse(const char *yaml, const char *message)
{
    CHECK_EQ(parse(yaml), INFLIGHT_E_CONFIG);
    CHECK_EQ(err.code, INFLIGHT_E_CONFIG);
    CHECK_TEXT(err.text, message);
    arena_release(&arena);
}

TEST(config, a_missing_key_has_its_default)
{
    accept(HEAD);
    CHECK_TEXT(config.model_path, "m.gguf");
    CHECK(config.chat_template == NULL);
    CHECK_TEXT(config.device, "auto");
    CHECK_EQ(config.context, 0);
    CHECK_EQ(config.threads, 0);
    CHECK_EQ(config.priority, THREAD_LOW);
    CHECK_EQ(config.isa, 0);
    CHECK_EQ(config.activations, ACT_INT8);
    CHECK(!config.cublaslt);
    CHECK_EQ(config.kv_type, KV_BF16);
    CHECK_EQ(config.kv_tokens, 0);
    CHECK(config.prefix_cache);
    CHECK_EQ(config.memory_budget, 0);
    CHECK_EQ(config.max_sequences, 32);
    CHECK_EQ(config.max_step_tokens, 512);
    CHECK_EQ(config.step_ms, 16);
    CHECK_EQ(config.batching, BATCHING_IN_FLIGHT);
    CHECK_EQ(config.max_requests, 256);
    CHECK_EQ(config.stream_bytes, 65536);
    CHECK_EQ(config.log_level, 1);
    arena_release(&arena);
}

TEST(config, sampling_has_the_defaults_of_OpenAI)
{
    accept(HEAD);
    const struct sampling *s = &config.sampling;
    CHECK(s->temperature == 1 && s->top_p == 1 && s->min_p == 0 && s->top_k == 0);
    CHECK(s->repetition_penalty == 1 && s->presence_penalty == 0 && s->frequency_penalty == 0);
    CHECK(s->skip_special_tokens && !s->has_seed && !s->ignore_eos && s->max_tokens == 0 &&
          s->min_tokens == 0);
    CHECK(s->n == 1 && s->logprobs == -1 && s->n_bias == 0 && s->n_stop == 0);
    arena_release(&arena);
}

TEST(config, every_key_fills_its_field)
{
    accept("version: 1\n"
           "model: {path: /m/x, context: 4096, chat_template: 't.jinja', quantization: int4_64,\n"
           "        quantize_head: true}\n"
           "device: {kind: cpu, threads: 7, priority: idle, instruction_set: avx512,\n"
           "         activations: float, cublaslt: true}\n"
           "kv_cache: {type: int8, tokens: 5000, prefix_cache: false}\n"
           "memory: {budget: 4GiB}\n"
           "batch: {max_sequences: 5, max_tokens: 64, step_ms: 40, mode: static}\n"
           "requests: {max: 9, stream_buffer: 8 KiB}\n"
           "log: {level: debug}\n");
    CHECK_TEXT(config.model_path, "/m/x");
    CHECK_TEXT(config.chat_template, "t.jinja");
    CHECK_TEXT(config.device, "cpu");
    CHECK_EQ(config.quantization, QUANTIZATION_INT4_64);
    CHECK(config.quantize_head);
    CHECK_EQ(config.context, 4096);
    CHECK_EQ(config.threads, 7);
    CHECK_EQ(config.priority, THREAD_IDLE);
    CHECK_EQ(config.isa, 3);
    CHECK_EQ(config.activations, ACT_FLOAT);
    CHECK(config.cublaslt);
    CHECK_EQ(config.kv_type, KV_INT8);
    CHECK_EQ(config.kv_tokens, 5000);
    CHECK(!config.prefix_cache);
    CHECK_EQ(config.memory_budget, 4ll << 30);
    CHECK_EQ(config.max_sequences, 5);
    CHECK_EQ(config.max_step_tokens, 64);
    CHECK_EQ(config.step_ms, 40);
    CHECK_EQ(config.batching, BATCHING_STATIC);
    CHECK_EQ(config.max_requests, 9);
    CHECK_EQ(config.stream_bytes, 8192);
    CHECK_EQ(config.log_level, 3);
    arena_release(&arena);
}

TEST(config, keys_and_values_may_be_fp8)
{
    accept(HEAD "kv_cache: {type: fp8}\n");
    CHECK_EQ(config.kv_type, KV_FP8);
    arena_release(&arena);
}

TEST(config, sampling_keys_fill_their_fields)
{
    accept(HEAD "sampling: {temperature: 0.7, top_p: 9e-1, top_k: 40, min_p: 0.05,\n"
                "  repetition_penalty: 1.1, presence_penalty: -0.5, frequency_penalty: +2,\n"
                "  max_tokens: 100, min_tokens: 3, seed: 9007199254740991, ignore_eos: true}\n");
    const struct sampling *s = &config.sampling;
    CHECK(s->temperature == 0.7f && s->top_p == 0.9f && s->top_k == 40 && s->min_p == 0.05f);
    CHECK(s->repetition_penalty == 1.1f && s->presence_penalty == -0.5f);
    CHECK(s->frequency_penalty == 2 && s->max_tokens == 100 && s->min_tokens == 3);
    CHECK(s->has_seed && s->seed == 9007199254740991 && s->ignore_eos);
    arena_release(&arena);
}

TEST(config, sizes_have_units_of_1000_and_of_1024)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } size[] = {
        {"0", 0},
        {"123456", 123456},
        {"7B", 7},
        {"800MB", 800000000},
        {"512 MiB", 512ull << 20},
        {"'512 MiB'", 512ull << 20},
        {"1.5GiB", 3ull << 29},
        {"3kB", 3000},
        {"3KB", 3000},
        {"2TiB", 2ull << 40},
    };
    for (size_t i = 0; i < COUNT_OF(size); i++) {
        char text[128];
        snprintf(text, sizeof text, HEAD "memory: {budget: %s}\n", size[i].text);
        accept(text);
        CHECK_EQ(config.memory_budget, size[i].bytes);
    }
    arena_release(&arena);
}

TEST(config, what_is_no_size_is_refused)
{
    static const char *const text[] = {"4Gib",
                                       "GiB",
                                       "-1",
                                       "1.5",
                                       "1.5B",
                                       "4 G",
                                       "99999999999999999999",
                                       "20000000000GiB",
                                       "1.1234567GiB",
                                       "4GiB x",
                                       "2000000000TB"};
    for (size_t i = 0; i < COUNT_OF(text); i++) {
        char yaml[128], message[200];
        snprintf(yaml, sizeof yaml, HEAD "memory: {budget: %s}\n", text[i]);
        snprintf(message, sizeof message,
                 "config:4:18: memory.budget: must be bytes, with a unit or without, from 0 B to "
                 "1.0 PiB, not %s",
                 text[i]);
        refuse(yaml, message);
    }
}

/* Sets every row in turn to a value that is not its default. */
TEST(config, every_row_is_printed_and_reads_back_the_same)
{
    for (size_t i = 0; i < CONFIG_ROWS; i++) {
        const struct config_row *row = &config_rows[i];
        if (!row->section || !strcmp(row->section, "model"))
            continue;
        char value[64] = "", yaml[256], want[128];
        if (row->names[0])
            snprintf(value, sizeof value, "%s", row->names[1]);
        else if (row->kind == CONFIG_BOOL)
            snprintf(value, sizeof value, "%s", strcmp(row->unset, "true") ? "true" : "false");
        else if (row->kind == CONFIG_FLOAT)
            snprintf(value, sizeof value, "0.625");
        else
            snprintf(value, sizeof value, "%lld", (long long)row->max - 3);
        snprintf(yaml, sizeof yaml, HEAD "%s:\n  %s: %s\n", row->section, row->key, value);
        accept(yaml);
        struct buf printed, again;
        buf_init(&printed, &mem_system);
        buf_init(&again, &mem_system);
        config_print(&config, &printed);
        buf_put_char(&printed, 0);
        snprintf(want, sizeof want, "\n  %s: %s\n", row->key, value);
        if (!strstr(printed.ptr, want))
            t_fail(__FILE__, __LINE__, "%s.%s: %s is not printed", row->section, row->key, value);
        accept(printed.ptr);
        config_print(&config, &again);
        buf_put_char(&again, 0);
        CHECK_TEXT(again.ptr, printed.ptr);
        buf_release(&printed);
        buf_release(&again);
    }
    arena_release(&arena);
}

TEST(config, floats_read_back_bit_for_bit)
{
    static const float value[] = {0.1f,  0.7f,         1.1f,   0.05f,       1.99999988f,
                                  1e-9f, 1.17549e-38f, 1e-45f, 0.33333334f, 1.5f};
    for (size_t i = 0; i < COUNT_OF(value); i++) {
        accept(HEAD);
        config.sampling.temperature = value[i];
        struct buf printed;
        buf_init(&printed, &mem_system);
        config_print(&config, &printed);
        CHECK_EQ(parse_bytes(printed.ptr, printed.len, NULL), 0);
        CHECK(config.sampling.temperature == value[i]);
        buf_release(&printed);
    }
    arena_release(&arena);
}

TEST(config, paths_start_at_the_folder_of_the_file)
{
    static const struct {
        const char *name, *path, *chat;
    } place[] = {
        {NULL, "m.gguf", "/t"},
        {"engine.yaml", "m.gguf", "/t"},
        {"/etc/llm/engine.yaml", "/etc/llm/m.gguf", "/t"},
        {"a/engine.yaml", "a/m.gguf", "/t"},
        {"/engine.yaml", "/m.gguf", "/t"},
    };
    const char *yaml = "version: 1\nmodel: {path: m.gguf, chat_template: /t}\n";
    for (size_t i = 0; i < COUNT_OF(place); i++) {
        CHECK_EQ(parse_bytes(yaml, strlen(yaml), place[i].name), 0);
        CHECK_TEXT(config.model_path, place[i].path);
        CHECK_TEXT(config.chat_template, place[i].chat);
    }
    arena_release(&arena);
}

TEST(config, a_path_with_quotes_and_backslashes_reads_back_the_same)
{
    accept("version: 1\nmodel: {path: 'a \"b\" \\c ü: #.gguf '}\n");
    char first[64];
    snprintf(first, sizeof first, "%s", config.model_path);
    CHECK_TEXT(first, "a \"b\" \\c ü: #.gguf ");
    struct buf printed;
    buf_init(&printed, &mem_system);
    config_print(&config, &printed);
    CHECK_EQ(parse_bytes(printed.ptr, printed.len, NULL), 0);
    CHECK_TEXT(config.model_path, first);
    buf_release(&printed);
    arena_release(&arena);
}

TEST(config, a_byte_order_mark_and_an_empty_section_are_accepted)
{
    accept("\xEF\xBB\xBF" HEAD "device:\n#  threads: 2\nbatch:\n");
    CHECK_EQ(config.max_sequences, 32);
    arena_release(&arena);
}

TEST(config, the_locale_of_the_host_does_not_matter)
{
    const char *set = setlocale(LC_ALL, "de_DE.UTF-8");
    accept(HEAD "sampling: {temperature: 0.25}\n");
    CHECK(config.sampling.temperature == 0.25f);
    struct buf printed;
    buf_init(&printed, &mem_system);
    config_print(&config, &printed);
    buf_put_char(&printed, 0);
    CHECK(strstr(printed.ptr, "temperature: 0.25\n") != NULL);
    buf_release(&printed);
    arena_release(&arena);
    setlocale(LC_ALL, "C");
    if (!set)
        t_skip("no locale de_DE.UTF-8");
}

TEST(config, an_unknown_key_is_refused_with_what_was_meant)
{
    refuse(HEAD "batch:\n  max_sequence: 3\n",
           "config:5:3: batch.max_sequence: unknown key, did you mean max_sequences?");
    refuse(HEAD "bacth: {}\n", "config:4:1: bacth: unknown key, did you mean batch?");
    refuse(HEAD "threads: 4\n", "config:4:1: threads: unknown key, did you mean device.threads?");
    refuse(HEAD "device: {top_k: 4}\n",
           "config:4:10: device.top_k: unknown key, did you mean sampling.top_k?");
    refuse(HEAD "log: {zzzzzzzzzzzz: 4}\n", "config:4:7: log.zzzzzzzzzzzz: unknown key");
    refuse(HEAD "'': 1\n", "config:4:1: : unknown key");
}

TEST(config, the_message_begins_with_the_name_of_the_file)
{
    const char *yaml = HEAD "batch:\n  max_sequence: 3\n";
    CHECK_EQ(parse_bytes(yaml, strlen(yaml), "conf/engine.yaml"), INFLIGHT_E_CONFIG);
    CHECK_TEXT(
        err.text,
        "conf/engine.yaml:5:3: batch.max_sequence: unknown key, did you mean max_sequences?");
    char name[4000];
    memset(name, 'n', sizeof name);
    name[sizeof name - 1] = 0;
    CHECK_EQ(parse_bytes(yaml, strlen(yaml), name), INFLIGHT_E_CONFIG);
    CHECK(strstr(err.text, "n:5:3: batch.max_sequence: unknown key") != NULL);
    arena_release(&arena);
}

TEST(config, a_wrong_type_is_refused)
{
    refuse(HEAD "batch: {max_tokens: many}\n",
           "config:4:21: batch.max_tokens: must be an integer from 16 to 8192, not many");
    refuse(HEAD "batch: {max_tokens: \"64\"}\n",
           "config:4:21: batch.max_tokens: must be an integer from 16 to 8192, not \"64\"");
    refuse(HEAD "batch: {max_tokens: 64.0}\n",
           "config:4:21: batch.max_tokens: must be an integer from 16 to 8192, not 64.0");
    refuse(HEAD "batch: {max_tokens: 064}\n",
           "config:4:21: batch.max_tokens: must be an integer from 16 to 8192, not 064");
    refuse(HEAD "batch: {max_tokens: }\n",
           "config:4:21: batch.max_tokens: must be an integer from 16 to 8192, not empty");
    refuse(HEAD "batch: {max_tokens: {a: 1}}\n",
           "config:4:21: batch.max_tokens: must be an integer from 16 to 8192, not a mapping");
    refuse(HEAD "kv_cache:\n  prefix_cache: yes\n",
           "config:5:17: kv_cache.prefix_cache: must be true or false, not yes");
    refuse("version: 1\nmodel: {path: m, quantization: int4_33}\n",
           "config:2:32: model.quantization: must be none, fp8, fp8_block, int8, int8_group, int4, "
           "int4_64 or int4_32, not int4_33, did you mean int4_32?");
    refuse(HEAD "kv_cache: {type: q8}\n",
           "config:4:18: kv_cache.type: must be bf16, int8, fp8 or f32, not q8");
    refuse(HEAD "sampling: {temperature: .nan}\n",
           "config:4:25: sampling.temperature: must be a number from 0 to 100, not .nan");
    refuse(HEAD "sampling: {temperature: 1e}\n",
           "config:4:25: sampling.temperature: must be a number from 0 to 100, not 1e");
    refuse("version: 1\nmodel: {path: [a, b]}\n",
           "config:2:15: model.path: must be a path as text, not a sequence");
    refuse(HEAD "device: [1]\n", "config:4:9: device: must be a mapping of keys, such as kind");
}

TEST(config, a_path_must_be_printable_text)
{
    static const char *const path[] = {"17", "true", "~", "null", "1.5", "''"};
    for (size_t i = 0; i < COUNT_OF(path); i++) {
        char yaml[64];
        snprintf(yaml, sizeof yaml, "version: 1\nmodel: {path: %s}\n", path[i]);
        CHECK_EQ(parse(yaml), INFLIGHT_E_CONFIG);
    }
    refuse("version: 1\nmodel: {path: \"a\\0b\"}\n",
           "config:2:15: model.path: must be a path as text, not \"a?b\"");
    CHECK_EQ(parse("version: 1\nmodel: {path: \"a\\u2028b\"}\n"), INFLIGHT_E_CONFIG);
    CHECK_EQ(parse("version: 1\nmodel: {path: \"a\\x85b\"}\n"), INFLIGHT_E_CONFIG);
    arena_release(&arena);
}

TEST(config, a_value_out_of_range_is_refused_with_the_range)
{
    refuse(HEAD "batch:\n  max_tokens: 9000\n",
           "config:5:15: batch.max_tokens: must be an integer from 16 to 8192, not 9000");
    refuse(HEAD "batch: {max_sequences: -99999999999999999999}\n",
           "config:4:24: batch.max_sequences: must be an integer from 1 to 1024, not "
           "-99999999999999999999");
    refuse(HEAD "sampling: {repetition_penalty: 0}\n",
           "config:4:32: sampling.repetition_penalty: must be a number from 0.001 to 100, not 0");
    refuse(HEAD "sampling: {temperature: 100.1}\n",
           "config:4:25: sampling.temperature: must be a number from 0 to 100, not 100.1");
    refuse(HEAD "requests: {stream_buffer: 1KiB}\n",
           "config:4:27: requests.stream_buffer: must be bytes, with a unit or without, from "
           "4.0 KiB to 16.0 MiB, not 1KiB");
    refuse("version: 2\nmodel: {path: m}\n", "config:1:10: version: must be 1, not 2");
}

/* The ends of each range are in it, their neighbours are not. */
TEST(config, ranges_are_inclusive)
{
    for (size_t i = 0; i < CONFIG_ROWS; i++) {
        const struct config_row *row = &config_rows[i];
        bool whole = row->kind == CONFIG_INT || row->kind == CONFIG_LONG ||
                     row->kind == CONFIG_SIZE || row->kind == CONFIG_SIZE_32 ||
                     row->kind == CONFIG_SEED;
        long long least = (long long)row->min, most = (long long)row->max;
        const long long value[] = {least - 1, least, most, most + 1};
        for (size_t j = 0; whole && j < COUNT_OF(value); j++) {
            char yaml[160];
            bool in_model = !strcmp(row->section, "model");
            snprintf(yaml, sizeof yaml, "version: 1\n%s%s: {%s%s: %lld}\n",
                     in_model ? "" : "model: {path: m}\n", row->section,
                     in_model ? "path: m, " : "", row->key, value[j]);
            int32_t want = j == 0 || j == 3 ? INFLIGHT_E_CONFIG : INFLIGHT_OK;
            if (parse(yaml) != want)
                t_fail(__FILE__, __LINE__, "%s.%s: %lld: %s", row->section, row->key, value[j],
                       err.text);
        }
    }
    arena_release(&arena);
}

TEST(config, a_duplicate_key_is_refused)
{
    refuse(HEAD "log:\n  level: info\n  level: debug\n",
           "config:6:3: log.level: given twice, first in line 5");
    refuse(HEAD "log: {level: info}\nmemory: {budget: 1}\nlog: {}\n",
           "config:6:1: log: given twice, first in line 4");
    refuse("version: 1\nversion: 1\n", "config:2:1: version: given twice, first in line 1");
}

TEST(config, anchors_aliases_tags_and_merge_keys_are_refused)
{
    refuse(HEAD "batch: &b {max_tokens: 64}\n", "config:4:8: anchors are not allowed");
    refuse("version: &v 1\n", "config:1:10: anchors are not allowed");
    refuse(HEAD "batch: *b\n", "config:4:8: aliases are not allowed");
    refuse(HEAD "batch: {max_tokens: !!int 64}\n", "config:4:21: tags are not allowed");
    refuse("!x {version: 1}\n", "config:1:1: tags are not allowed");
    refuse(HEAD "log:\n  <<: {}\n", "config:5:3: merge keys are not allowed");
}

TEST(config, a_key_that_is_not_a_word_is_refused)
{
    refuse("? [a, b]\n: 1\n", "config:1:3: a key must be a word");
    refuse("? {a: b}\n: 1\n", "config:1:3: a key must be a word");
}

TEST(config, several_documents_are_refused)
{
    refuse(HEAD "---\nversion: 1\n", "config:4:1: only one document is allowed");
}

TEST(config, an_empty_text_is_refused)
{
    refuse("", "config:1:1: the configuration is empty");
    refuse("# nothing\n\n", "config:1:1: the configuration is empty");
    CHECK_EQ(parse_bytes(NULL, 0, NULL), INFLIGHT_E_CONFIG);
    CHECK_TEXT(err.text, "config:1:1: the configuration is empty");
    refuse("--- hello\n", "config:1:5: must be a mapping of sections, such as model");
    refuse("- a\n", "config:1:1: must be a mapping of sections, such as model");
    arena_release(&arena);
}

TEST(config, a_missing_required_key_is_refused)
{
    refuse("model: {path: m}\n", "config:1:1: version: is missing. Version of this format");
    refuse("version: 1\n\nmodel:\n  context: 5\n",
           "config:3:1: model.path: is missing. The model: a GGUF file or a Hugging Face folder, "
           "relative to this file");
    refuse("version: 1\n",
           "config:1:1: model.path: is missing. The model: a GGUF file or a Hugging Face folder, "
           "relative to this file");
}

TEST(config, text_that_is_not_UTF_8_is_refused)
{
    refuse(HEAD "log: {level: \xC0\xAF}\n", "config:4:14: byte 0xc0 is not UTF-8");
    refuse("version: 1\n# \xED\xA0\x80\n", "config:2:3: byte 0xed is not UTF-8");
    refuse("# \xE2\x82", "config:1:3: byte 0xe2 is not UTF-8");
    refuse("# \xF5\x80\x80\x80", "config:1:3: byte 0xf5 is not UTF-8");
    refuse("# \xC3\xBC \x80", "config:1:5: byte 0x80 is not UTF-8");
    refuse("a\n\x07", "config:2:1: control character U+0007");
    CHECK_EQ(parse_bytes("a\0b", 3, NULL), INFLIGHT_E_CONFIG);
    CHECK_TEXT(err.text, "config:1:2: control character U+0000");
    arena_release(&arena);
}

TEST(config, a_text_over_one_MiB_is_refused)
{
    static char text[(1 << 20) + 1];
    memset(text, '\n', sizeof text);
    memcpy(text, HEAD, sizeof HEAD - 1);
    CHECK_EQ(parse_bytes(text, sizeof text - 1, NULL), INFLIGHT_OK);
    CHECK_EQ(parse_bytes(text, sizeof text, NULL), INFLIGHT_E_CONFIG);
    CHECK_TEXT(err.text, "config:1:1: 1048577 bytes, more than 1048576");
    arena_release(&arena);
}

TEST(config, a_million_brackets_are_refused_at_the_first)
{
    static char text[1 << 20];
    memset(text, '[', sizeof text);
    CHECK_EQ(parse_bytes(text, sizeof text, NULL), INFLIGHT_E_CONFIG);
    CHECK_TEXT(err.text, "config:1:1: must be a mapping of sections, such as model");
    memcpy(text, "version: ", 9);
    CHECK_EQ(parse_bytes(text, sizeof text, NULL), INFLIGHT_E_CONFIG);
    CHECK_TEXT(err.text, "config:1:10: version: must be 1, not a sequence");
    arena_release(&arena);
}

TEST(config, what_is_not_YAML_is_refused_where_it_breaks)
{
    refuse("version: 1\nmodel: {path: m\n",
           "config:3:1: not YAML: while parsing a flow mapping, did not find expected ',' or '}'");
    refuse("version: 1\n\tmodel: x\n",
           "config:2:1: not YAML: while scanning a plain scalar, found a tab character that "
           "violates indentation");
}

TEST(config, a_long_or_wild_key_is_cut_in_the_message)
{
    refuse(HEAD "\"a\\nb\\e\": 1\n", "config:4:1: a?b?: unknown key");
    refuse(HEAD "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaüüüüü: 1\n",
           "config:4:1: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...: unknown key");
}

static void *no_alloc(void *user, uint64_t bytes, uint64_t align)
{
    (void)user, (void)bytes, (void)align;
    return NULL;
}

TEST(config, no_memory_is_its_own_error)
{
    struct mem none = mem_system;
    none.alloc = no_alloc;
    struct arena empty;
    arena_init(&empty, &none);
    struct str yaml = {HEAD, strlen(HEAD)};
    CHECK_EQ(config_parse(&config, yaml, NULL, &empty, &err), INFLIGHT_E_NOMEM);
    CHECK_TEXT(err.text, "config: no memory to read it");
    yaml = (struct str){"version: 2", 10};
    CHECK_EQ(config_parse(&config, yaml, NULL, &empty, &err), INFLIGHT_E_NOMEM);
    arena_release(&empty);
}

TEST(config, an_error_text_is_not_required)
{
    arena_init(&arena, &mem_system);
    struct str yaml = {"version: 2", 10};
    CHECK_EQ(config_parse(&config, yaml, NULL, &arena, NULL), INFLIGHT_E_CONFIG);
    arena_release(&arena);
}
