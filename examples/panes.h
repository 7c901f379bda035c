/* Texts side by side in a terminal, redrawn in place. Wide and combining characters keep
 * their columns, words are not torn, and control characters of the text do nothing. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct pane {
    const char *title; /* UTF-8, NUL-terminated */
    const char *text;  /* UTF-8 with whole code points, borrowed while drawing */
    size_t len;
    bool done;
};

struct panes {
    int columns, rows; /* of panes */
    int width, height; /* of one pane's text, in characters and lines */
    bool drawn;        /* the cursor stands below an earlier drawing */
};

/* Fits n panes into the terminal of stdout. False if it is too small, or none. */
bool panes_init(struct panes *panes, int n);

/* Draws over the earlier drawing: of each text its end. */
void panes_draw(struct panes *panes, const struct pane *pane, int n);
