/* One tree for JSON and YAML.
 *
 * Jansson does the JSON.  libyaml's events are turned into the same values here, one pending
 * container per level; the place of each value is kept beside the tree under its JSON pointer, so
 * that a checker which walks the tree can name line and column of what it dislikes. */
#include "base/tree.h"
#include "base/buf.h"
#include "base/text.h"
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <uthash.h>
#include <yaml.h>

/* Deepest nesting of [ and { outside strings, before Jansson recurses into it. */
static size_t json_depth(const char *s, size_t len)
{
    size_t depth = 0, most = 0;
    bool is_string = false;

    for (size_t i = 0; i < len; i++) {
        if (is_string) {
            i += s[i] == '\\';
            is_string = i >= len || s[i] != '"';
        } else if (s[i] == '"') {
            is_string = true;
        } else if (s[i] == '[' || s[i] == '{') {
            most = ++depth > most ? depth : most;
        } else if (s[i] == ']' || s[i] == '}') {
            depth -= depth > 0;
        }
    }
    return most;
}

/* What Jansson says, without the names of its flags. */
static const char *json_why(const json_error_t *why)
{
    if (strstr(why->text, "JSON_ALLOW_NUL")) {
        return "\\u0000 is not allowed in text";
    }
    if (!strncmp(why->text, "NUL byte in object key", 22)) {
        return "\\u0000 is not allowed in a name";
    }
    return why->text;
}

int tree_from_json(const char *data, size_t len, json_t **ret, struct error *err)
{
    json_error_t why;

    if (len > TREE_MAX_BYTES) {
        return err_set(err, E2BIG, "the document has %zu bytes, the limit is %d", len,
                       TREE_MAX_BYTES);
    }
    if (json_depth(data, len) > TREE_MAX_DEPTH) {
        return err_set(err, EINVAL, "the JSON is nested deeper than %d levels", TREE_MAX_DEPTH);
    }
    json_t *root = json_loadb(data, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &why);
    if (!root) {
        return err_set(err, EINVAL, "not valid JSON: line %d, column %d: %s", why.line, why.column,
                       json_why(&why));
    }
    *ret = root;
    return 0;
}

struct place {
    char *pointer; /* key */
    size_t line, column;
    size_t key_line, key_column; /* of its key; the same as above where it has none */
    UT_hash_handle hh;
};

struct tree_doc {
    char *name;
    json_t *root;
    struct place *places;
};

/* A container that is being filled. */
struct level {
    json_t *node; /* borrowed: its parent, or the document, owns it */
    char *key;    /* the mapping key that waits for its value */
    yaml_mark_t key_at;
    size_t pointer_len; /* of the path to this container */
};

struct reader {
    struct tree_doc *doc;
    yaml_parser_t parser;
    struct level level[TREE_MAX_DEPTH];
    size_t depth;
    struct buf pointer;
    struct error *err;
};

void tree_doc_free(struct tree_doc *doc)
{
    struct place *p = NULL, *next = NULL;

    if (!doc) {
        return;
    }
    HASH_ITER(hh, doc->places, p, next)
    {
        HASH_DEL(doc->places, p);
        free(p->pointer);
        free(p);
    }
    json_decref(doc->root);
    free(doc->name);
    free(doc);
}

json_t *tree_doc_root(const struct tree_doc *doc)
{
    return doc->root;
}

const char *tree_doc_name(const struct tree_doc *doc)
{
    return doc->name;
}

static int fail_at(const struct tree_doc *doc, const char *pointer, bool is_key, struct error *err,
                   const char *fmt, va_list ap)
{
    struct place *p = NULL;
    char text[256];

    vsnprintf(text, sizeof(text), fmt, ap);
    HASH_FIND_STR(doc->places, pointer, p);
    if (!p) {
        return err_set(err, EINVAL, "%s: %s", doc->name, text);
    }
    return err_set(err, EINVAL, "%s:%zu:%zu: %s", doc->name, is_key ? p->key_line : p->line,
                   is_key ? p->key_column : p->column, text);
}

int tree_doc_fail(const struct tree_doc *doc, const char *pointer, struct error *err,
                  const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    int rc = fail_at(doc, pointer, false, err, fmt, ap);
    va_end(ap);
    return rc;
}

int tree_doc_fail_key(const struct tree_doc *doc, const char *pointer, struct error *err,
                      const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    int rc = fail_at(doc, pointer, true, err, fmt, ap);
    va_end(ap);
    return rc;
}

static int yaml_fail(struct reader *r, yaml_mark_t at, const char *text)
{
    return err_set(r->err, EINVAL, "%s:%zu:%zu: %s", r->doc->name, at.line + 1, at.column + 1,
                   text);
}

static void remember_place(struct reader *r, yaml_mark_t at, yaml_mark_t key_at)
{
    struct place *p = xcalloc(1, sizeof(*p));

    p->pointer = xstrdup(r->pointer.data ? r->pointer.data : "");
    p->line = at.line + 1;
    p->column = at.column + 1;
    p->key_line = key_at.line + 1;
    p->key_column = key_at.column + 1;
    HASH_ADD_KEYPTR(hh, r->doc->places, p->pointer, strlen(p->pointer), p);
}

/* Puts a new value (reference given away) where the document expects one. */
static int put_value(struct reader *r, json_t *value, yaml_mark_t at)
{
    struct level *l = r->depth ? &r->level[r->depth - 1] : NULL;
    yaml_mark_t key_at = at;

    if (!value) {
        return yaml_fail(r, at, "not valid UTF-8 text");
    }
    if (!l) {
        r->doc->root = value;
        remember_place(r, at, at);
        return 0;
    }
    r->pointer.len = l->pointer_len;
    if (r->pointer.data) {
        r->pointer.data[r->pointer.len] = '\0';
    }
    if (json_is_array(l->node)) {
        buf_addf(&r->pointer, "/%zu", json_array_size(l->node));
        json_array_append_new(l->node, value);
    } else {
        buf_addf(&r->pointer, "/%s", l->key);
        json_object_set_new(l->node, l->key, value);
        free(TAKE_PTR(l->key));
        key_at = l->key_at;
    }
    remember_place(r, at, key_at);
    return 0;
}

static int open_container(struct reader *r, json_t *node, yaml_mark_t at)
{
    if (r->depth == TREE_MAX_DEPTH) {
        json_decref(node);
        return yaml_fail(r, at, "nested deeper than 32 levels");
    }
    int rc = put_value(r, node, at);
    if (rc < 0) {
        return rc;
    }
    r->level[r->depth++] = (struct level){.node = node, .pointer_len = r->pointer.len};
    return 0;
}

static bool is_word(const char *s, const char *a, const char *b, const char *c)
{
    return !strcmp(s, a) || !strcmp(s, b) || !strcmp(s, c);
}

/* What a plain (unquoted) scalar means in the YAML 1.2 core schema. */
static json_t *plain_value(const char *s, size_t len)
{
    char *end = NULL;

    if (!*s || !strcmp(s, "~") || is_word(s, "null", "Null", "NULL")) {
        return json_null();
    }
    if (is_word(s, "true", "True", "TRUE")) {
        return json_true();
    }
    if (is_word(s, "false", "False", "FALSE")) {
        return json_false();
    }
    if (s[strspn(s, "+-.0123456789eE")] == '\0' && strpbrk(s, "0123456789")) {
        errno = 0;
        long long i = strtoll(s, &end, 10);
        if (!*end && !errno) {
            return json_integer(i);
        }
        double d = strtod(s, &end);
        if (!*end && d > -1e300 && d < 1e300) {
            return json_real(d);
        }
    }
    return json_stringn(s, len);
}

static int read_key(struct reader *r, struct level *l, const yaml_event_t *e)
{
    const char *s = (const char *)e->data.scalar.value;
    size_t len = e->data.scalar.length;

    if (strlen(s) != len || !text_is_utf8(s, len)) {
        return yaml_fail(r, e->start_mark, "a key is not valid text");
    }
    if (len > 256) {
        return yaml_fail(r, e->start_mark, "a key is longer than 256 bytes");
    }
    if (json_object_get(l->node, s)) {
        return yaml_fail(r, e->start_mark, "this key stands twice in the same mapping");
    }
    l->key = xstrdup(s);
    l->key_at = e->start_mark;
    return 0;
}

static int read_scalar(struct reader *r, const yaml_event_t *e)
{
    struct level *l = r->depth ? &r->level[r->depth - 1] : NULL;
    const char *s = (const char *)e->data.scalar.value;

    if (l && json_is_object(l->node) && !l->key) {
        return read_key(r, l, e);
    }
    if (strlen(s) != e->data.scalar.length) {
        return yaml_fail(r, e->start_mark, "a value has a NUL character");
    }
    json_t *v = e->data.scalar.plain_implicit && e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE
                    ? plain_value(s, e->data.scalar.length)
                    : json_stringn(s, e->data.scalar.length);
    return put_value(r, v, e->start_mark);
}

/* Is a key needed here, where something else came? */
static bool expects_key(const struct reader *r)
{
    const struct level *l = r->depth ? &r->level[r->depth - 1] : NULL;

    return l && json_is_object(l->node) && !l->key;
}

static int read_event(struct reader *r, const yaml_event_t *e)
{
    switch (e->type) {
    case YAML_ALIAS_EVENT:
        return yaml_fail(r, e->start_mark, "aliases (*name) are not allowed");
    case YAML_DOCUMENT_START_EVENT:
        return r->doc->root ? yaml_fail(r, e->start_mark, "only one document is allowed") : 0;
    case YAML_SCALAR_EVENT:
        return read_scalar(r, e);
    case YAML_SEQUENCE_START_EVENT:
    case YAML_MAPPING_START_EVENT:
        if (expects_key(r)) {
            return yaml_fail(r, e->start_mark, "a key must be a plain word");
        }
        return open_container(r, e->type == YAML_SEQUENCE_START_EVENT ? json_array()
                                                                      : json_object(),
                              e->start_mark);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        r->depth--;
        return 0;
    default:
        return 0;
    }
}

static int read_events(struct reader *r)
{
    for (;;) {
        yaml_event_t e;
        if (!yaml_parser_parse(&r->parser, &e)) {
            yaml_mark_t at = r->parser.problem_mark;
            return yaml_fail(r, at, r->parser.problem ? r->parser.problem : "not valid YAML");
        }
        bool is_end = e.type == YAML_STREAM_END_EVENT;
        int rc = read_event(r, &e);
        yaml_event_delete(&e);
        if (rc < 0 || is_end) {
            return rc;
        }
    }
}

int tree_from_yaml(const char *data, size_t len, const char *name, struct tree_doc **ret,
                   struct error *err)
{
    CLEANUP(tree_doc_freep) struct tree_doc *doc = xcalloc(1, sizeof(*doc));
    struct reader r = {.doc = doc, .err = err, .pointer = BUF_INIT(TREE_MAX_DEPTH * 300)};

    doc->name = xstrdup(name);
    if (len > TREE_MAX_BYTES) {
        return err_set(err, E2BIG, "%s: %zu bytes, the limit is %d", name, len, TREE_MAX_BYTES);
    }
    if (!yaml_parser_initialize(&r.parser)) {
        abort(); /* out of memory */
    }
    /* libyaml leaves the mark out only where it finds out the encoding by itself. */
    size_t mark = len >= 3 && memcmp(data, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)data + mark, len - mark);
    int rc = read_events(&r);
    yaml_parser_delete(&r.parser);
    buf_done(&r.pointer);
    for (size_t i = 0; i < TREE_MAX_DEPTH; i++) {
        free(r.level[i].key);
    }
    if (rc < 0) {
        return rc;
    }
    if (!doc->root) {
        doc->root = json_null();
    }
    *ret = TAKE_PTR(doc);
    return 0;
}

int tree_read_file(const char *path, size_t max_bytes, char **ret, size_t *ret_len,
                   struct error *err)
{
    CLEANUP(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        return err_set(err, errno, "%s: %s", path, strerror(errno));
    }
    return tree_read_fd(fd, path, max_bytes, ret, ret_len, err);
}

int tree_read_fd(int fd, const char *name, size_t max_bytes, char **ret, size_t *ret_len,
                 struct error *err)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(max_bytes);
    char chunk[16384];

    while (!b.is_full) {
        ssize_t n = read(fd, chunk, sizeof(chunk));
        if (n < 0) {
            return err_set(err, errno, "%s: %s", name, strerror(errno));
        }
        if (n == 0) {
            break;
        }
        buf_add(&b, chunk, (size_t)n);
    }
    if (b.is_full) {
        return err_set(err, EFBIG, "%s: larger than %zu bytes", name, max_bytes);
    }
    *ret_len = b.len;
    *ret = buf_take(&b);
    return 0;
}
