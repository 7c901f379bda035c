/* One value of the configuration: from YAML text into its field and back. */
#pragma once

#include "config_rows.h"

#include "../base/buf.h"

/* A scalar as it stands in the text. Quoted text is never a number, a bool or null. */
struct config_value {
    struct str text;
    bool quoted;
};

/* Fills the row's field. False if value is not what config_value_expected says, or, with
 * *no_memory set, if the arena is exhausted. folder: with its final '/', goes before a
 * relative path; may be empty. */
bool config_value_set(struct config *config, const struct config_row *row,
                      struct config_value value, struct str folder, struct arena *arena,
                      bool *no_memory);

/* The value of the row's field as YAML text; nothing if it has none. */
void config_value_put(const struct config *config, const struct config_row *row, struct buf *out);

/* What the row takes: "an integer from 1 to 1024", "auto, cuda or cpu". */
void config_value_expected(const struct config_row *row, struct buf *out);
