#pragma once
#include "base/buf.h"
#include "base/error.h"
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* What goes to standard output: tables, JSON, YAML, CSV, and what the terminal there can show. */

enum out_format { OUT_TABLE, OUT_WIDE, OUT_JSON, OUT_YAML, OUT_CSV };

struct out {
    enum out_format format;
    bool has_header;
    bool is_tty;
    bool is_utf8;   /* may draw with more than ASCII */
    bool has_color;
    int width;      /* columns; 80 when unknown */
    int height;     /* lines; 24 when unknown */
};

/* Looks at the terminal and the environment; `color` is "auto", "always" or "never". */
int out_init(struct out *out, const char *format, const char *color, bool is_ascii,
             struct error *err);

/* Looks at the terminal's size again. */
void out_measure(struct out *out);

enum out_color {
    COLOR_NONE,
    COLOR_BOLD,
    COLOR_DIM,
    COLOR_RED,
    COLOR_GREEN,
    COLOR_YELLOW,
    COLOR_BLUE,
    COLOR_MAGENTA,
    COLOR_CYAN,
    COLOR_COUNT
};

/* The sequence that switches a colour on; "" when there is no colour. COLOR_NONE switches off. */
const char *out_color(const struct out *out, enum out_color color);
/* The colour of a state of a lease, slice, GPU or check. */
enum out_color out_state_color(const char *state);

/* Appends text, escaped, in exactly `width` columns: cut with an ellipsis or padded. */
void out_add_fitted(const struct out *out, struct buf *b, const char *text, int width);
/* Appends text, escaped, and the end of the line.  On a terminal it is folded at spaces, and what
 * follows starts `indent` columns in; the first line begins at column `used`. */
void out_add_folded(const struct out *out, struct buf *b, const char *text, int used, int indent);
/* Appends one line as it is, colours and all, but at most out->width columns of it. */
void out_add_clipped(const struct out *out, struct buf *b, const char *line, size_t len);
/* Columns that the text takes. */
int out_width(const struct out *out, const char *text);

enum { COLUMN_WIDE = 1, COLUMN_RIGHT = 2, COLUMN_STATE = 4, COLUMN_LONG = 8 };

struct out_column {
    const char *header;
    /* The member ("placement.start"), or a function that appends the text of the cell. */
    const char *path;
    void (*add)(const json_t *row, struct buf *b);
    int flags;
};

/* The rows (a borrowed array of objects) in the chosen format. */
void out_print_list(const struct out *out, const json_t *rows, const struct out_column *columns,
                    size_t count);
/* JSON or YAML, for any value.  JSON is safe to show on a terminal. */
void out_print_tree(const struct out *out, const json_t *value);
void out_print_json(const json_t *value, bool is_one_line);
/* A value as YAML, with flow sequences of plain values as people write them. */
void out_add_yaml(struct buf *b, const json_t *value);
/* Is a tree asked for? */
static inline bool out_is_tree(const struct out *out)
{
    return out->format == OUT_JSON || out->format == OUT_YAML;
}

/* Writes out what was printed.  -errno when not all of it has arrived, now or earlier; the first
 * reason is kept. */
int out_flush(void);

/* A descriptor that becomes readable when nobody reads standard output any more (`| head -1`), for
 * those that wait and do not write meanwhile; -1 when that cannot be told.  The
 * caller closes it. */
int out_reader_fd(void);
/* Ends the process, as writing to it would have, when nobody reads standard output any more. */
void out_end_if_unread(void);

/* Appends "4:2" (start and size), or nothing for a whole GPU. */
void out_add_placement(const json_t *placement, struct buf *b);
/* Appends a coarse duration, "3m" or "2h", two units at most. */
void out_add_span(struct buf *b, int64_t ms);
