/* The YAML text, event by event. A document is a mapping of sections, a section a mapping
 * of scalars: nothing nests deeper, so there is no recursion. Each event knows its place,
 * which begins every message: "engine.yaml:7:3: batch.max_tokens: ...". */
#include "config_text.h"
#include "config_value.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#define TEXT_BYTES  ((size_t)1 << 20)
#define SHOWN_BYTES 48  /* of a key or value in a message */
#define NAME_BYTES  200 /* of the file's name, its end */

struct place {
    size_t line, column; /* from 1; columns count code points */
};

struct reader {
    yaml_parser_t parser;
    yaml_event_t event; /* the current one, deleted by the next */
    struct place place; /* its start */
    struct config *config;
    struct arena *arena;
    struct str folder;                 /* goes before relative paths, with its final '/' */
    const char *name;                  /* of the text, in messages */
    struct place given[CONFIG_ROWS];   /* where a row's key stands; line 0: nowhere yet */
    struct place section[CONFIG_ROWS]; /* the same of a section, at the index of its first row */
    struct err *err;
};

PRINTF_LIKE(3, 4)
static int32_t refuse(struct reader *r, struct place place, const char *format, ...)
{
    char text[400];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return err_set(r->err, INFLIGHT_E_CONFIG, "%s:%zu:%zu: %s", r->name, place.line, place.column,
                   text);
}

static int32_t refuse_no_memory(struct reader *r)
{
    return err_set(r->err, INFLIGHT_E_NOMEM, "%s: no memory to read it", r->name);
}

/* text for a message: cut at a code point, control characters replaced. */
static const char *shown(struct str text, char out[SHOWN_BYTES + 4])
{
    size_t n = MIN(text.len, (size_t)SHOWN_BYTES);
    while (n < text.len && n && ((uint8_t)text.ptr[n] & 0xc0) == 0x80)
        n--;
    for (size_t i = 0; i < n; i++) {
        uint8_t c = (uint8_t)text.ptr[i];
        out[i] = c < 0x20 || c == 0x7f ? '?' : text.ptr[i];
    }
    strcpy(out + n, n < text.len ? "..." : "");
    return out;
}

static struct place place_of(yaml_mark_t mark)
{
    return (struct place){mark.line + 1, mark.column + 1};
}

static int32_t refuse_syntax(struct reader *r)
{
    const yaml_parser_t *parser = &r->parser;
    if (parser->error == YAML_MEMORY_ERROR)
        return refuse_no_memory(r);
    return refuse(r, place_of(parser->problem_mark), "not YAML: %s%s%s",
                  parser->context ? parser->context : "", parser->context ? ", " : "",
                  parser->problem ? parser->problem : "unreadable");
}

/* What this format does without, whatever it is attached to. */
static int32_t check_plain(struct reader *r)
{
    const yaml_event_t *event = &r->event;
    const yaml_char_t *anchor = NULL, *tag = NULL;
    if (event->type == YAML_ALIAS_EVENT)
        return refuse(r, r->place, "aliases are not allowed");
    if (event->type == YAML_SCALAR_EVENT) {
        anchor = event->data.scalar.anchor;
        tag = event->data.scalar.tag;
    } else if (event->type == YAML_MAPPING_START_EVENT) {
        anchor = event->data.mapping_start.anchor;
        tag = event->data.mapping_start.tag;
    } else if (event->type == YAML_SEQUENCE_START_EVENT) {
        anchor = event->data.sequence_start.anchor;
        tag = event->data.sequence_start.tag;
    }
    if (anchor)
        return refuse(r, r->place, "anchors are not allowed");
    return tag ? refuse(r, r->place, "tags are not allowed") : INFLIGHT_OK;
}

static int32_t next(struct reader *r)
{
    yaml_event_delete(&r->event);
    if (!yaml_parser_parse(&r->parser, &r->event))
        return refuse_syntax(r);
    r->place = place_of(r->event.start_mark);
    return check_plain(r);
}

static struct str scalar_text(const struct reader *r)
{
    return (struct str){(const char *)r->event.data.scalar.value, r->event.data.scalar.length};
}

static bool same(struct str text, const char *word)
{
    return text.len == strlen(word) && memcmp(text.ptr, word, text.len) == 0;
}

static bool in_section(const struct config_row *row, const char *section)
{
    return section && row->section ? strcmp(row->section, section) == 0 : section == row->section;
}

/* Index of the row, CONFIG_ROWS if there is none. */
static size_t find_key(const char *section, struct str key)
{
    size_t i = 0;
    while (i < CONFIG_ROWS &&
           !(in_section(&config_rows[i], section) && same(key, config_rows[i].key)))
        i++;
    return i;
}

/* Index of the section's first row, CONFIG_ROWS if there is none. */
static size_t find_section(struct str key)
{
    size_t i = 0;
    while (i < CONFIG_ROWS && !(config_rows[i].section && same(key, config_rows[i].section)))
        i++;
    return i;
}

/* The key is in none of the lists of this section: one that stands elsewhere, or else the
 * most similar one, is what was meant. */
static int32_t refuse_unknown(struct reader *r, const char *section, struct str key)
{
    const char *candidates[2 * CONFIG_ROWS];
    size_t n = 0;
    char text[SHOWN_BYTES + 4];
    const char *dot = section ? "." : "";
    const char *shown_section = section ? section : "";
    for (size_t i = 0; i < CONFIG_ROWS; i++) {
        const struct config_row *row = &config_rows[i];
        if (row->section && same(key, row->key))
            return refuse(r, r->place, "%s%s%s: unknown key, did you mean %s.%s?", shown_section,
                          dot, shown(key, text), row->section, row->key);
        if (in_section(row, section))
            candidates[n++] = row->key;
        else if (!section)
            candidates[n++] = row->section;
    }
    const char *meant = closest_word(key, candidates, n);
    return refuse(r, r->place, "%s%s%s: unknown key%s%s%s", shown_section, dot, shown(key, text),
                  meant ? ", did you mean " : "", meant ? meant : "", meant ? "?" : "");
}

/* The row's name that the value is a slip of, or NULL. */
static const char *meant_name(const struct reader *r, const struct config_row *row)
{
    size_t n = 0;
    if (r->event.type != YAML_SCALAR_EVENT)
        return NULL;
    while (row->names[n])
        n++;
    return n ? closest_word(scalar_text(r), row->names, n) : NULL;
}

static int32_t refuse_value(struct reader *r, const struct config_row *row)
{
    char text[SHOWN_BYTES + 4];
    struct buf expected;
    buf_init(&expected, r->arena->mem);
    config_value_expected(row, &expected);
    const char *got = r->event.type == YAML_SEQUENCE_START_EVENT ? "a sequence" : "a mapping";
    const char *quote = "";
    if (r->event.type == YAML_SCALAR_EVENT) {
        bool plain = r->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
        quote = plain ? "" : "\"";
        got = plain && !scalar_text(r).len ? "empty" : shown(scalar_text(r), text);
    }
    const char *meant = meant_name(r, row);
    int32_t code = refuse(r, r->place, "%s%s%s: must be %.*s, not %s%s%s%s%s%s",
                          row->section ? row->section : "", row->section ? "." : "", row->key,
                          (int)expected.len, expected.ptr, quote, got, quote,
                          meant ? ", did you mean " : "", meant ? meant : "", meant ? "?" : "");
    if (expected.failed)
        code = refuse_no_memory(r);
    buf_release(&expected);
    return code;
}

static int32_t check_once(struct reader *r, struct place *given, const char *section,
                          const char *key)
{
    if (given->line)
        return refuse(r, r->place, "%s%s%s: given twice, first in line %zu", section ? section : "",
                      section ? "." : "", key, given->line);
    *given = r->place;
    return INFLIGHT_OK;
}

/* At the key of a row: reads its value. */
static int32_t read_value(struct reader *r, size_t index)
{
    const struct config_row *row = &config_rows[index];
    int32_t code = check_once(r, &r->given[index], row->section, row->key);
    if (code || (code = next(r)))
        return code;
    if (r->event.type != YAML_SCALAR_EVENT)
        return refuse_value(r, row);
    struct config_value value = {
        scalar_text(r),
        r->event.data.scalar.style != YAML_PLAIN_SCALAR_STYLE,
    };
    bool no_memory;
    if (config_value_set(r->config, row, value, r->folder, r->arena, &no_memory))
        return INFLIGHT_OK;
    return no_memory ? refuse_no_memory(r) : refuse_value(r, row);
}

/* At a key or the end of a mapping. Fails if it is neither. */
static int32_t check_key(struct reader *r)
{
    if (r->event.type == YAML_MAPPING_END_EVENT)
        return INFLIGHT_OK;
    if (r->event.type != YAML_SCALAR_EVENT)
        return refuse(r, r->place, "a key must be a word");
    if (same(scalar_text(r), "<<"))
        return refuse(r, r->place, "merge keys are not allowed");
    return INFLIGHT_OK;
}

/* At the key of a section: reads its mapping. An empty one is allowed, so that all its
 * lines may be commented out. */
static int32_t read_section(struct reader *r, size_t first)
{
    const char *section = config_rows[first].section;
    int32_t code = check_once(r, &r->section[first], NULL, section);
    if (code || (code = next(r)))
        return code;
    if (r->event.type == YAML_SCALAR_EVENT && !scalar_text(r).len &&
        r->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE)
        return INFLIGHT_OK;
    if (r->event.type != YAML_MAPPING_START_EVENT)
        return refuse(r, r->place, "%s: must be a mapping of keys, such as %s", section,
                      config_rows[first].key);
    while (!(code = next(r)) && !(code = check_key(r))) {
        if (r->event.type == YAML_MAPPING_END_EVENT)
            return INFLIGHT_OK;
        size_t index = find_key(section, scalar_text(r));
        code =
            index < CONFIG_ROWS ? read_value(r, index) : refuse_unknown(r, section, scalar_text(r));
        if (code)
            break;
    }
    return code;
}

/* At the start of the outermost mapping: reads all of it. */
static int32_t read_sections(struct reader *r)
{
    int32_t code;
    while (!(code = next(r)) && !(code = check_key(r))) {
        if (r->event.type == YAML_MAPPING_END_EVENT)
            return INFLIGHT_OK;
        size_t index = find_key(NULL, scalar_text(r)), first = find_section(scalar_text(r));
        if (index < CONFIG_ROWS)
            code = read_value(r, index);
        else if (first < CONFIG_ROWS)
            code = read_section(r, first);
        else
            code = refuse_unknown(r, NULL, scalar_text(r));
        if (code)
            break;
    }
    return code;
}

static int32_t read_document(struct reader *r)
{
    int32_t code;
    if ((code = next(r))) /* stream start */
        return code;
    if ((code = next(r))) /* document start or stream end */
        return code;
    if (r->event.type == YAML_STREAM_END_EVENT)
        return refuse(r, (struct place){1, 1}, "the configuration is empty");
    if ((code = next(r)))
        return code;
    if (r->event.type != YAML_MAPPING_START_EVENT)
        return refuse(r, r->place, "must be a mapping of sections, such as model");
    if ((code = read_sections(r)) || (code = next(r)) || (code = next(r)))
        return code;
    return r->event.type == YAML_STREAM_END_EVENT
               ? INFLIGHT_OK
               : refuse(r, r->place, "only one document is allowed");
}

/* Keys that are missing: required ones are an error, at their section if it is there. */
static int32_t check_required(struct reader *r)
{
    for (size_t i = 0; i < CONFIG_ROWS; i++) {
        const struct config_row *row = &config_rows[i];
        if (row->unset || r->given[i].line)
            continue;
        struct place place = {1, 1};
        if (row->section) {
            struct str section = {row->section, strlen(row->section)};
            struct place given = r->section[find_section(section)];
            place = given.line ? given : place;
        }
        return refuse(r, place, "%s%s%s: is missing. %s", row->section ? row->section : "",
                      row->section ? "." : "", row->key, row->doc);
    }
    return INFLIGHT_OK;
}

static int32_t set_defaults(struct reader *r)
{
    *r->config = (struct config){.sampling = {.n = 1, .logprobs = -1}};
    for (size_t i = 0; i < CONFIG_ROWS; i++) {
        const char *unset = config_rows[i].unset;
        struct config_value value = {{unset, unset ? strlen(unset) : 0}, false};
        bool no_memory;
        if (value.text.len &&
            !config_value_set(r->config, &config_rows[i], value, r->folder, r->arena, &no_memory))
            return err_set(r->err, INFLIGHT_E_INTERNAL, "default of %s", config_rows[i].key);
    }
    return INFLIGHT_OK;
}

static int32_t parse(struct reader *r, struct str yaml)
{
    int32_t code = set_defaults(r);
    if (code)
        return code;
    if (yaml.len > TEXT_BYTES)
        return refuse(r, (struct place){1, 1}, "%zu bytes, more than %zu", yaml.len, TEXT_BYTES);
    if ((code = config_text_check(yaml, r->name, r->err)))
        return code;
    if (!yaml_parser_initialize(&r->parser))
        return refuse_no_memory(r);
    yaml_parser_set_encoding(&r->parser, YAML_UTF8_ENCODING);
    /* The library asserts that there is a pointer, even to nothing. */
    const char *input = yaml.len ? yaml.ptr : "";
    yaml_parser_set_input_string(&r->parser, (const unsigned char *)input, yaml.len);
    code = read_document(r);
    if (!code)
        code = check_required(r);
    yaml_event_delete(&r->event);
    yaml_parser_delete(&r->parser);
    return code;
}

/* The end of a long name, from the start of a code point. */
static const char *name_end(const char *name)
{
    size_t len = strlen(name);
    name += len > NAME_BYTES ? len - NAME_BYTES : 0;
    while (((uint8_t)*name & 0xc0) == 0x80)
        name++;
    return name;
}

int32_t config_parse(struct config *config, struct str yaml, const char *name, struct arena *arena,
                     struct err *err)
{
    struct reader r = {.config = config, .arena = arena, .err = err};
    const char *slash = name ? strrchr(name, '/') : NULL;
    r.name = name ? name_end(name) : "config";
    r.folder = (struct str){name, slash ? (size_t)(slash - name) + 1 : 0};
    if (yaml.len >= 3 && memcmp(yaml.ptr, "\xEF\xBB\xBF", 3) == 0) {
        yaml.ptr += 3;
        yaml.len -= 3;
    }
    return parse(&r, yaml);
}
