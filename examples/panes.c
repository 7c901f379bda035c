#define _DEFAULT_SOURCE
#include "panes.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define LEAST_WIDTH 24 /* of a pane */
#define MOST_LINES  16 /* of a pane */
#define MOST_PANES  16 /* side by side */
#define GAP         3  /* between panes: " | " */

bool panes_init(struct panes *panes, int n)
{
    struct winsize size = {0};
    if (!isatty(STDOUT_FILENO) || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0)
        return false;
    int fitting = (size.ws_col + GAP) / (LEAST_WIDTH + GAP);
    if (n < 1 || fitting < 1)
        return false;
    if (fitting > MOST_PANES)
        fitting = MOST_PANES;
    *panes = (struct panes){.columns = n < fitting ? n : fitting};
    panes->rows = (n + panes->columns - 1) / panes->columns;
    panes->columns = (n + panes->rows - 1) / panes->rows;
    panes->width = (size.ws_col + GAP) / panes->columns - GAP;
    /* A title above each pane, and below all the line with the cursor. */
    panes->height = (size.ws_row - 1) / panes->rows - 1;
    if (panes->height > MOST_LINES)
        panes->height = MOST_LINES;
    return panes->height >= 2;
}

/* The code point at text and its bytes; U+FFFD for what is not UTF-8. */
static size_t decode(const char *text, size_t len, uint32_t *c)
{
    const uint8_t *p = (const uint8_t *)text;
    size_t n = p[0] < 0x80 ? 1 : p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : p[0] >= 0xc0 ? 2 : 0;
    *c = 0xfffd;
    if (!n || n > len)
        return 1;
    uint32_t value = n == 1 ? p[0] : p[0] & (0xffu >> (n + 1));
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 1;
        value = value << 6 | (p[i] & 0x3fu);
    }
    *c = value;
    return n;
}

static int columns_of(uint32_t c)
{
    static const struct {
        uint32_t first, last;
        int columns;
    } range[] = {
        {0x0300, 0x036f, 0},   {0x200b, 0x200f, 0},   {0xfe00, 0xfe0f, 0},   {0x1100, 0x115f, 2},
        {0x2e80, 0xa4cf, 2},   {0xac00, 0xd7a3, 2},   {0xf900, 0xfaff, 2},   {0xfe30, 0xfe6f, 2},
        {0xff00, 0xff60, 2},   {0xffe0, 0xffe6, 2},   {0x1f300, 0x1f64f, 2}, {0x1f680, 0x1f6ff, 2},
        {0x1f900, 0x1faff, 2}, {0x20000, 0x3fffd, 2},
    };
    for (size_t i = 0; i < sizeof range / sizeof range[0]; i++)
        if (c >= range[i].first && c <= range[i].last)
            return range[i].columns;
    return 1;
}

/* Bytes of the line at text that fits width; *next: where the following one begins. */
static size_t line_len(const char *text, size_t len, int width, size_t *next)
{
    size_t space = 0; /* after the last space that fits */
    int column = 0;
    for (size_t i = 0, n; i < len; i += n) {
        uint32_t c;
        n = decode(text + i, len - i, &c);
        if (c == '\n') {
            *next = i + 1;
            return i;
        }
        column += columns_of(c);
        if (column > width) {
            bool at_space = c == ' ';
            *next = at_space ? i + 1 : space ? space : i;
            return at_space || !space ? i : space;
        }
        if (c == ' ')
            space = i + n;
    }
    *next = len;
    return len;
}

/* Writes at most width columns and fills up with spaces. */
static void put_line(const char *text, size_t len, int width)
{
    int column = 0;
    for (size_t i = 0, n; i < len; i += n) {
        uint32_t c;
        n = decode(text + i, len - i, &c);
        if (column + columns_of(c) > width)
            break;
        column += columns_of(c);
        if (c < 0x20 || (c >= 0x7f && c < 0xa0))
            putchar(' ');
        else if (c == 0xfffd)
            fputs("\xEF\xBF\xBD", stdout);
        else
            fwrite(text + i, 1, n, stdout);
    }
    printf("%*s", width - column, "");
}

struct line {
    const char *text;
    size_t len;
};

/* The last height lines of the text, from the top; returns how many. */
static int last_lines(const struct pane *pane, int width, int height, struct line *lines)
{
    int n = 0;
    for (size_t at = 0, next; at < pane->len; at += next) {
        size_t len = line_len(pane->text + at, pane->len - at, width, &next);
        if (n == height)
            memmove(lines, lines + 1, (size_t)(--n) * sizeof *lines);
        lines[n++] = (struct line){pane->text + at, len};
    }
    return n;
}

static void draw_row(const struct panes *panes, const struct pane *pane, int n)
{
    struct line lines[MOST_PANES][MOST_LINES];
    int have[MOST_PANES];
    for (int i = 0; i < n; i++) {
        have[i] = last_lines(&pane[i], panes->width, panes->height, lines[i]);
        fputs(i ? " | " : "", stdout);
        fputs(pane[i].done ? "\033[1;32m" : "\033[1m", stdout);
        put_line(pane[i].title, strlen(pane[i].title), panes->width);
        fputs("\033[0m", stdout);
    }
    fputs("\033[K\n", stdout);
    for (int y = 0; y < panes->height; y++) {
        for (int i = 0; i < n; i++) {
            struct line line = y < have[i] ? lines[i][y] : (struct line){"", 0};
            fputs(i ? " | " : "", stdout);
            put_line(line.text, line.len, panes->width);
        }
        fputs("\033[K\n", stdout);
    }
}

void panes_draw(struct panes *panes, const struct pane *pane, int n)
{
    if (panes->drawn)
        printf("\033[%dA\r", panes->rows * (panes->height + 1));
    panes->drawn = true;
    for (int row = 0; row < panes->rows; row++) {
        int first = row * panes->columns, left = n - first;
        draw_row(panes, pane + first, left < panes->columns ? left : panes->columns);
    }
    fflush(stdout);
}
