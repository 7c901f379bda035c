/* .file and .loc (PTX ISA 9.0, 11.5), read again when somebody asks: the parser skips them. */
#include "lines.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *next_line(const char *at)
{
    const char *end = strchr(at, '\n');
    return end ? end + 1 : NULL;
}

static const char *line_of(const struct ptx_module *module, uint32_t number)
{
    const char *at = module->text;
    while (at && --number)
        at = next_line(at);
    return at;
}

/* Goes past a directive at the start of a line; NULL: it is another line. */
static const char *behind(const char *line, const char *directive)
{
    size_t n = strlen(directive);
    line += strspn(line, " \t");
    return strncmp(line, directive, n) == 0 ? line + n : NULL;
}

static void take_place(const char *line, struct source *now)
{
    char *end;
    const char *numbers = behind(line, ".loc");
    if (!numbers)
        return;
    now->file = (uint32_t)strtoul(numbers, &end, 10);
    now->line = (uint32_t)strtoul(end, NULL, 10);
}

/* A function's first .loc stands behind its name. */
void lines_find(const struct ptx_function *f, struct source *out)
{
    struct source now = {0};
    uint32_t line = f->n_instr ? f->instr[0].line : 1;
    const char *at = line_of(f->module, line);
    for (const char *before = f->module->text; at && before < at; before = next_line(before)) {
        if (behind(before, ".visible .entry") || behind(before, ".entry"))
            now = (struct source){0};
        take_place(before, &now);
    }
    for (uint32_t i = 0; i < f->n_instr; i++) {
        for (; at && line < f->instr[i].line; line++) {
            take_place(at, &now);
            at = next_line(at);
        }
        out[i] = now.file ? now : (struct source){0, f->instr[i].line};
    }
}

void lines_file(const struct ptx_module *module, uint32_t number, char *out, size_t bytes)
{
    (void)snprintf(out, bytes, "PTX");
    for (const char *at = module->text; at && number; at = next_line(at)) {
        char *end;
        const char *rest = behind(at, ".file");
        if (!rest || strtoul(rest, &end, 10) != number || !(rest = strchr(end, '"')))
            continue;
        int length = (int)strcspn(++rest, "\"");
        for (int i = 0; i < length; i++)
            if (rest[i] == '/') {
                rest += i + 1;
                length -= i + 1;
                i = -1;
            }
        (void)snprintf(out, bytes, "%.*s", length, rest);
        return;
    }
}
