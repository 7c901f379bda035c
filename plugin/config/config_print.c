/* The configuration as annotated YAML: what each key means, takes and is by default. The
 * example file is this text for the defaults. */
#include "config_value.h"

#include <string.h>

static void put_section(const struct config_row *row, const struct config_row *previous,
                        struct buf *out)
{
    if (!row->section || (previous->section && strcmp(row->section, previous->section) == 0))
        return;
    buf_format(out, "\n%s:\n", row->section);
}

static void put_comment(const struct config_row *row, const char *indent, struct buf *out)
{
    buf_format(out, "%s# %s.\n%s# (", indent, row->doc, indent);
    config_value_expected(row, out);
    if (!row->unset)
        buf_put_text(out, "; required)\n");
    else if (!*row->unset)
        buf_put_text(out, "; no default)\n");
    else
        buf_format(out, "; default %s)\n", row->unset);
}

void config_print(const struct config *config, struct buf *out)
{
    for (size_t i = 0; i < CONFIG_ROWS; i++) {
        const struct config_row *row = &config_rows[i];
        const char *indent = row->section ? "  " : "";
        put_section(row, &config_rows[i ? i - 1 : 0], out);
        put_comment(row, indent, out);
        size_t start = out->len;
        buf_format(out, "%s%s: ", indent, row->key);
        size_t before = out->len;
        config_value_put(config, row, out);
        if (out->len == before) {
            out->len = start;
            buf_format(out, "%s# %s:", indent, row->key);
        }
        buf_put_char(out, '\n');
    }
}
