/* Lists and trees in the formats that people and scripts read. */
#include "base/text.h"
#include "cli/cli.h"
#include "cli/out.h"
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define MAX_OUTPUT_BYTES (64u * 1024 * 1024)
/* As many as a decimal number keeps on its way through a double: 0.421 stays 0.421. */
#define REAL_DIGITS JSON_REAL_PRECISION(15)

/* --- JSON --- */

/* Jansson escapes what JSON asks for; DEL and the C1 controls (which move cursors, too) it does
 * not. They can only stand inside strings. */
static void add_json(struct buf *b, const json_t *value, size_t flags)
{
    CLEANUP(freep) char *text = json_dumps(value, flags | JSON_ENCODE_ANY | REAL_DIGITS);

    for (const unsigned char *p = (const unsigned char *)(text ? text : "null"); *p; p++) {
        if (*p == 0x7f) {
            buf_adds(b, "\\u007f");
        } else if (p[0] == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0) {
            buf_addf(b, "\\u00%02x", p[1]);
            p++;
        } else {
            buf_add(b, p, 1);
        }
    }
}

void out_print_json(const json_t *value, bool is_one_line)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(MAX_OUTPUT_BYTES);

    add_json(&b, value, is_one_line ? JSON_COMPACT : JSON_INDENT(2));
    printf("%s\n", b.data);
}

/* --- YAML --- */

static bool is_plain(const char *s)
{
    static const char *const words[] = {"null", "true", "false", "yes", "no",
                                        "on",   "off",  "y",     "n"};

    if (!isalpha((unsigned char)*s) && *s != '/') {
        return false;
    }
    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        if (!strcasecmp(s, words[i])) {
            return false;
        }
    }
    return s[strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./+-")] ==
           '\0';
}

static void add_yaml_scalar(struct buf *b, const json_t *value)
{
    const char *s = json_string_value(value);

    if (s && is_plain(s)) {
        buf_adds(b, s);
    } else {
        add_json(b, value, 0); /* JSON is YAML, too */
    }
}

static bool is_flow(const json_t *array)
{
    size_t i = 0;
    json_t *item = NULL;

    json_array_foreach(array, i, item)
    {
        if (json_is_object(item) || json_is_array(item)) {
            return false;
        }
    }
    return true;
}

static void add_yaml(struct buf *b, const json_t *value, int indent, bool is_after_dash);

static void add_yaml_map(struct buf *b, const json_t *map, int indent, bool is_after_dash)
{
    const char *key = NULL;
    json_t *value = NULL;

    json_object_foreach((json_t *)map, key, value)
    {
        buf_addf(b, "%*s", is_after_dash ? 0 : indent, "");
        is_after_dash = false;
        CLEANUP(json_decrefp) json_t *name = json_string(key);
        add_yaml_scalar(b, name);
        buf_adds(b, ":");
        bool is_block = (json_is_object(value) && json_object_size(value)) ||
                        (json_is_array(value) && !is_flow(value));
        buf_adds(b, is_block ? "\n" : " ");
        add_yaml(b, value, indent + 2, false);
    }
}

static void add_yaml_list(struct buf *b, const json_t *list, int indent, bool is_after_dash)
{
    size_t i = 0;
    json_t *item = NULL;

    if (is_flow(list)) {
        buf_adds(b, "[");
        json_array_foreach(list, i, item)
        {
            buf_adds(b, i ? ", " : "");
            add_yaml_scalar(b, item);
        }
        buf_adds(b, "]\n");
        return;
    }
    json_array_foreach(list, i, item)
    {
        buf_addf(b, "%*s- ", is_after_dash && !i ? 0 : indent, "");
        add_yaml(b, item, indent + 2, true);
    }
}

static void add_yaml(struct buf *b, const json_t *value, int indent, bool is_after_dash)
{
    if (json_is_object(value) && json_object_size(value)) {
        add_yaml_map(b, value, indent, is_after_dash);
    } else if (json_is_array(value)) {
        add_yaml_list(b, value, indent, is_after_dash);
    } else if (json_is_object(value)) {
        buf_adds(b, "{}\n");
    } else {
        add_yaml_scalar(b, value);
        buf_adds(b, "\n");
    }
}

void out_add_yaml(struct buf *b, const json_t *value)
{
    add_yaml(b, value, 0, false);
}

void out_print_tree(const struct out *out, const json_t *value)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(MAX_OUTPUT_BYTES);

    if (out->format == OUT_YAML) {
        out_add_yaml(&b, value);
        fputs(b.data ? b.data : "", stdout);
    } else {
        out_print_json(value, false);
    }
}

/* --- Tables and CSV --- */

/* The member at "a.b"; NULL when it is not there. */
static const json_t *find_member(const json_t *row, const char *path)
{
    while (row && *path) {
        size_t n = strcspn(path, ".");
        char key[64];
        snprintf(key, sizeof(key), "%.*s", (int)n, path);
        row = json_object_get(row, key);
        path += n + (path[n] == '.');
    }
    return row;
}

static void add_value(struct buf *b, const json_t *value)
{
    if (json_is_string(value)) {
        buf_adds(b, json_string_value(value));
    } else if (json_is_boolean(value)) {
        buf_adds(b, json_is_true(value) ? "yes" : "no");
    } else if (json_is_real(value)) {
        buf_addf(b, "%.3f", json_real_value(value)); /* what the daemon counts: 0.100 above 0.010 */
    } else if (value && !json_is_null(value)) {
        add_json(b, value, JSON_COMPACT);
    }
}

/* The cell's text as it came, unescaped; the caller frees. */
static char *cell_text(const struct out_column *c, const json_t *row)
{
    struct buf raw = BUF_INIT(1024 * 1024);

    if (c->add) {
        c->add(row, &raw);
    } else {
        add_value(&raw, find_member(row, c->path));
    }
    return buf_take(&raw);
}

static char *cell_escaped(const struct out_column *c, const json_t *row)
{
    CLEANUP(freep) char *raw = cell_text(c, row);
    struct buf safe = BUF_INIT(4 * 1024 * 1024);

    text_add_escaped(&safe, raw);
    return buf_take(&safe);
}

static void add_csv_cell(struct buf *b, const char *text)
{
    if (!text[strcspn(text, ",\"\n\r")]) {
        buf_adds(b, text);
        return;
    }
    buf_adds(b, "\"");
    for (const char *p = text; *p; p++) {
        buf_add(b, *p == '"' ? "\"\"" : p, *p == '"' ? 2 : 1);
    }
    buf_adds(b, "\"");
}

static void print_csv(const struct out *out, const json_t *rows, const struct out_column *columns,
                      size_t count)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(MAX_OUTPUT_BYTES);
    size_t i = 0;
    json_t *row = NULL;

    for (size_t k = 0; out->has_header && k < count; k++) {
        buf_adds(&b, k ? "," : "");
        for (const char *p = columns[k].header; *p; p++) {
            char c = *p == ' ' || *p == '-' ? '_' : (char)tolower((unsigned char)*p);
            buf_add(&b, *p == '%' ? "_percent" : &c, *p == '%' ? strlen("_percent") : 1);
        }
    }
    buf_adds(&b, out->has_header ? "\n" : "");
    json_array_foreach(rows, i, row)
    {
        for (size_t k = 0; k < count; k++) {
            CLEANUP(freep) char *text = cell_escaped(&columns[k], row);
            buf_adds(&b, k ? "," : "");
            add_csv_cell(&b, text);
        }
        buf_adds(&b, "\n");
    }
    fputs(b.data ? b.data : "", stdout);
}

/* A table: the text of every cell first, then the widths.  (libsmartcols was tried: in a locale
 * that is not UTF-8 it never returns from text that is.) */
struct table {
    const struct out *out;
    const struct out_column *columns[32];
    int widths[32];
    size_t column_count, row_count;
    char **cells; /* row by row */
};

static void table_done(struct table *t)
{
    for (size_t i = 0; i < t->row_count * t->column_count; i++) {
        free(t->cells[i]);
    }
    free(t->cells);
}

static void measure(struct table *t, size_t k, const char *text)
{
    int width = out_width(t->out, text);

    t->widths[k] = width > t->widths[k] ? width : t->widths[k];
}

static void fill_table(struct table *t, const json_t *rows)
{
    size_t i = 0;
    json_t *row = NULL;

    t->row_count = json_array_size(rows);
    t->cells = xcalloc(t->row_count * t->column_count + 1, sizeof(*t->cells));
    for (size_t k = 0; t->out->has_header && k < t->column_count; k++) {
        measure(t, k, t->columns[k]->header);
    }
    json_array_foreach(rows, i, row)
    {
        for (size_t k = 0; k < t->column_count; k++) {
            char *text = cell_text(t->columns[k], row);
            if (!*text) {
                free(text);
                text = xstrdup("-");
            }
            t->cells[i * t->column_count + k] = text;
            measure(t, k, text);
        }
    }
}

/* On a terminal the long columns give way, as far as 12 columns each. */
static void shrink_table(struct table *t)
{
    int total = -2;

    for (size_t k = 0; k < t->column_count; k++) {
        total += t->widths[k] + 2;
    }
    for (size_t k = t->column_count; k > 0 && total > t->out->width; k--) {
        int *width = &t->widths[k - 1];
        if (t->columns[k - 1]->flags & COLUMN_LONG && *width > 12) {
            int less = total - t->out->width < *width - 12 ? total - t->out->width : *width - 12;
            *width -= less;
            total -= less;
        }
    }
}

static void add_cell(const struct table *t, struct buf *b, size_t k, const char *text, bool is_cell)
{
    const struct out_column *c = t->columns[k];
    int width = t->widths[k], pad = width - out_width(t->out, text);
    int room = pad > 0 ? width - pad : width;
    enum out_color color = is_cell && c->flags & COLUMN_STATE ? out_state_color(text) : COLOR_NONE;
    bool is_last = k + 1 == t->column_count;

    buf_addf(b, "%s", k ? "  " : "");
    if (c->flags & COLUMN_RIGHT && pad > 0) {
        buf_addf(b, "%*s", pad, "");
        pad = 0;
    }
    buf_adds(b, color ? out_color(t->out, color) : "");
    out_add_fitted(t->out, b, text, room);
    buf_adds(b, color ? out_color(t->out, COLOR_NONE) : "");
    if (pad > 0 && !is_last) {
        buf_addf(b, "%*s", pad, "");
    }
}

static void print_table(const struct out *out, const json_t *rows,
                        const struct out_column *columns, size_t count)
{
    CLEANUP(table_done) struct table t = {.out = out};
    CLEANUP(buf_done) struct buf b = BUF_INIT(MAX_OUTPUT_BYTES);

    for (size_t k = 0; k < count && t.column_count < ARRAY_SIZE(t.columns); k++) {
        if (!(columns[k].flags & COLUMN_WIDE) || out->format == OUT_WIDE) {
            t.columns[t.column_count++] = &columns[k];
        }
    }
    fill_table(&t, rows);
    if (out->is_tty && out->format != OUT_WIDE) {
        shrink_table(&t);
    }
    for (size_t k = 0; out->has_header && k < t.column_count; k++) {
        add_cell(&t, &b, k, t.columns[k]->header, false);
    }
    buf_adds(&b, out->has_header ? "\n" : "");
    for (size_t i = 0; i < t.row_count; i++) {
        for (size_t k = 0; k < t.column_count; k++) {
            add_cell(&t, &b, k, t.cells[i * t.column_count + k], true);
        }
        buf_adds(&b, "\n");
    }
    fputs(b.data ? b.data : "", stdout);
}

void out_print_list(const struct out *out, const json_t *rows, const struct out_column *columns,
                    size_t count)
{
    if (out_is_tree(out)) {
        out_print_tree(out, rows);
    } else if (out->format == OUT_CSV) {
        print_csv(out, rows, columns, count);
    } else {
        print_table(out, rows, columns, count);
    }
}
