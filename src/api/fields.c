/* Checking JSON against tables of fields.
 *
 * A check stops at the first thing that is wrong.  What it says is written for whoever wrote the
 * value: the place, what was found and what would be accepted. */
#include "api/fields.h"
#include "base/json.h"
#include "base/cleanup.h"
#include "base/text.h"
#include <stdio.h>
#include <string.h>

const struct field *fields_find(const struct field_set *set, const char *name)
{
    for (const struct field *f = set->fields; f->name; f++) {
        if (!strcmp(f->name, name)) {
            return f;
        }
    }
    return NULL;
}

/* Is the word of n bytes one of "a|b|c"? */
static bool is_word_of(const char *words, const char *word, size_t n)
{
    for (const char *at = words; *at;) {
        size_t len = strcspn(at, "|");
        if (len == n && !memcmp(at, word, n)) {
            return true;
        }
        at += len + (at[len] == '|');
    }
    return false;
}

static void describe_words(const char *words, struct buf *ret)
{
    for (const char *at = words; *at;) {
        size_t len = strcspn(at, "|");
        bool is_last = !at[len], is_only = at == words && is_last;
        buf_adds(ret, at == words || is_only ? "" : is_last ? " or " : ", ");
        buf_adds(ret, "\"");
        buf_add(ret, at, len);
        buf_adds(ret, "\"");
        at += len + (at[len] == '|');
    }
}

static void describe_duration(const struct field *f, struct buf *ret)
{
    char lo[32] = "", hi[32] = "";

    buf_addf(ret, "a duration from %s to %s, as in \"30s\" or \"1h30m\"",
             text_format_duration_ms(f->min, lo), text_format_duration_ms(f->max, hi));
}

/* "an object of a, b, c" */
static void describe_object(const struct field *f, struct buf *ret)
{
    const struct field *at = f->set ? f->set->fields : NULL;

    buf_adds(ret, "an object");
    for (; at && at->name; at++) {
        buf_addf(ret, "%s%s", at == f->set->fields ? " of " : ", ", at->name);
    }
}

static void describe_one(const struct field *f, struct buf *ret)
{
    switch (f->type) {
    case FIELD_STRING:
    case FIELD_WORD:
        buf_addf(ret, "text of %lld to %lld bytes without control characters", (long long)f->min,
                 (long long)f->max);
        buf_adds(ret, f->type == FIELD_WORD ? ", or a whole number" : "");
        break;
    case FIELD_ENUM:
        describe_words(f->words, ret);
        break;
    case FIELD_INT:
        buf_addf(ret, "a whole number from %lld to %lld", (long long)f->min, (long long)f->max);
        break;
    case FIELD_DURATION:
        describe_duration(f, ret);
        break;
    case FIELD_LABELS:
        buf_addf(ret, "an object of at most %d texts: names of 1 to %d bytes, values of at most %d",
                 FIELD_LABELS_MAX, FIELD_LABEL_NAME_BYTES, FIELD_LABEL_VALUE_BYTES);
        break;
    case FIELD_NUMBER:
        buf_adds(ret, "a number");
        break;
    case FIELD_BOOL:
        buf_adds(ret, "true or false");
        break;
    case FIELD_TIME:
        buf_adds(ret, "a time as in \"2026-11-21T23:59:40.123Z\"");
        break;
    default:
        describe_object(f, ret);
        break;
    }
}

void field_describe(const struct field *field, struct buf *ret)
{
    if (field->flags & FIELD_LIST) {
        buf_addf(ret, "a list of at most %u, each ", field->list_max);
    }
    describe_one(field, ret);
    buf_adds(ret, field->flags & FIELD_NULLABLE ? ", or null" : "");
}

/* --- checking ------------------------------------------------------------------------------- */

struct check {
    char *pointer; /* FIELD_POINTER_BYTES */
    struct error *err;
};

/* Appends "/name" to the pointer, escaped as RFC 6901 wants it; returns the length before. */
static size_t push(struct check *c, const char *name)
{
    size_t before = strlen(c->pointer), at = before;
    char *p = c->pointer;

    if (at + 2 < FIELD_POINTER_BYTES) {
        p[at++] = '/';
    }
    for (; *name && at + 3 < FIELD_POINTER_BYTES; name++) {
        if (*name == '~' || *name == '/') {
            p[at++] = '~';
            p[at++] = *name == '~' ? '0' : '1';
        } else {
            p[at++] = *name;
        }
    }
    p[at] = '\0';
    return before;
}

static void pop(struct check *c, size_t before)
{
    c->pointer[before] = '\0';
}

/* "requests[2].profile" of "/requests/2/profile"; `last` is added to it (NULL nothing).  What a
 * stranger wrote is shown escaped. */
static void add_place(const struct check *c, const char *last, struct buf *ret)
{
    char name[FIELD_POINTER_BYTES];
    const char *at = c->pointer;

    while (*at == '/') {
        size_t len = strcspn(++at, "/"), n = 0;
        bool is_index = len && strspn(at, "0123456789") == len;
        for (size_t i = 0; i < len; i++) {
            bool is_escape = at[i] == '~' && i + 1 < len;
            name[n++] = !is_escape ? at[i] : at[++i] == '0' ? '~' : '/';
        }
        name[n] = '\0';
        text_mend_utf8(name); /* a long one was cut off */
        buf_adds(ret, is_index ? "[" : ret->len ? "." : "");
        text_add_escaped(ret, name);
        buf_adds(ret, is_index ? "]" : "");
        at += len;
    }
    if (last) {
        buf_addf(ret, "%s%s", ret->len ? "." : "", last);
    }
}

static const char *kind_of(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "a list";
    case JSON_STRING:
        return "text";
    case JSON_INTEGER:
        return "a whole number";
    case JSON_REAL:
        return "a number with a fraction";
    case JSON_NULL:
        return "null";
    default:
        return json_is_true(v) ? "true" : "false";
    }
}

/* "must be ..., not ..." */
static int bad_value(const struct check *c, const struct field *f, const char *what,
                     const json_t *v)
{
    CLEANUP(buf_done) struct buf place = BUF_INIT(512);
    char found[80] = "";

    add_place(c, c->pointer[0] ? NULL : f->name, &place);
    if (json_is_integer(v)) {
        snprintf(found, sizeof(found), "%lld", (long long)json_integer_value(v));
    } else if (json_is_real(v)) {
        snprintf(found, sizeof(found), "%.10g", json_real_value(v));
    } else if (json_is_string(v) && json_string_length(v) <= 40 &&
               !text_has_control(json_string_value(v))) {
        snprintf(found, sizeof(found), "\"%s\"", json_string_value(v));
    } else if (json_is_string(v)) {
        snprintf(found, sizeof(found), "text of %zu bytes%s", json_string_length(v),
                 text_has_control(json_string_value(v)) ? " with control characters" : "");
    } else if (json_is_array(v) && (f->flags & FIELD_LIST)) {
        snprintf(found, sizeof(found), "a list of %zu", json_array_size(v));
    } else {
        text_copy(found, sizeof(found), kind_of(v));
    }
    return err_set(c->err, EINVAL, "%s: must be %s, not %s", place.data ? place.data : f->name,
                   what, found);
}

static int bad(const struct check *c, const struct field *f, const json_t *v)
{
    CLEANUP(buf_done) struct buf what = BUF_INIT(512);

    field_describe(f, &what);
    return bad_value(c, f, what.data ? what.data : "", v);
}

/* The same of one value, which may be one of a list. */
static int bad_one(const struct check *c, const struct field *f, const json_t *v)
{
    CLEANUP(buf_done) struct buf what = BUF_INIT(512);

    if (!(f->flags & FIELD_LIST)) {
        return bad(c, f, v);
    }
    describe_one(f, &what);
    return bad_value(c, f, what.data ? what.data : "", v);
}

static bool is_clean_text(const json_t *v, int64_t min, int64_t max)
{
    size_t len = json_string_length(v);
    const char *s = json_string_value(v);

    return (int64_t)len >= min && (int64_t)len <= max && strlen(s) == len && !text_has_control(s);
}

#define LABEL_VALUE "text of at most 255 bytes without control characters"
_Static_assert(FIELD_LABEL_VALUE_BYTES == 255, "said in LABEL_VALUE");

static int check_labels(struct check *c, const struct field *f, const json_t *v)
{
    const char *name = NULL;
    json_t *value = NULL;

    if (!json_is_object(v) || json_object_size(v) > FIELD_LABELS_MAX) {
        return bad_one(c, f, v);
    }
    json_object_foreach((json_t *)v, name, value) {
        size_t n = strlen(name), before = push(c, name);
        if (n == 0 || n > FIELD_LABEL_NAME_BYTES || text_has_control(name)) {
            return err_set(c->err, EINVAL,
                           "%s: the name of each must be text of 1 to %d bytes without control "
                           "characters",
                           f->name, FIELD_LABEL_NAME_BYTES);
        }
        if (!json_is_string(value) || !is_clean_text(value, 0, FIELD_LABEL_VALUE_BYTES)) {
            return bad_value(c, f, LABEL_VALUE, value);
        }
        pop(c, before);
    }
    return 0;
}

static bool is_duration(const struct field *f, const json_t *v)
{
    int64_t ms = 0;

    return json_is_string(v) && !text_parse_duration_ms(json_string_value(v), &ms, NULL) &&
           ms >= f->min && ms <= f->max;
}

static bool is_int_in(const json_t *v, int64_t min, int64_t max)
{
    return json_is_integer(v) && json_integer_value(v) >= min && json_integer_value(v) <= max;
}

static bool is_good_scalar(const struct field *f, const json_t *v)
{
    switch (f->type) {
    case FIELD_STRING:
        return json_is_string(v) && is_clean_text(v, f->min, f->max);
    case FIELD_WORD:
        return is_int_in(v, 0, UINT32_MAX) ||
               (json_is_string(v) && is_clean_text(v, f->min, f->max));
    case FIELD_ENUM:
        return json_is_string(v) &&
               is_word_of(f->words, json_string_value(v), json_string_length(v));
    case FIELD_INT:
        return is_int_in(v, f->min, f->max);
    case FIELD_NUMBER:
        return json_is_number(v);
    case FIELD_BOOL:
        return json_is_boolean(v);
    case FIELD_DURATION:
        return is_duration(f, v);
    case FIELD_OPEN:
        return json_is_object(v);
    default:
        return false;
    }
}

static int check_object(struct check *c, const struct field_set *set, const json_t *object);

static int check_one(struct check *c, const struct field *f, const json_t *v)
{
    if (f->type == FIELD_OBJECT && json_is_object(v)) {
        return check_object(c, f->set, v);
    }
    if (f->type == FIELD_LABELS) {
        return check_labels(c, f, v);
    }
    return is_good_scalar(f, v) ? 0 : bad_one(c, f, v);
}

static int check_value(struct check *c, const struct field *f, const json_t *v)
{
    if (json_is_null(v) && (f->flags & FIELD_NULLABLE)) {
        return 0;
    }
    if (!(f->flags & FIELD_LIST)) {
        return check_one(c, f, v);
    }
    if (!json_is_array(v) || json_array_size(v) > f->list_max) {
        return bad(c, f, v);
    }
    for (size_t i = 0; i < json_array_size(v); i++) {
        char number[24];
        snprintf(number, sizeof(number), "%zu", i);
        size_t before = push(c, number);
        int rc = check_one(c, f, json_array_get(v, i));
        if (rc < 0) {
            return rc;
        }
        pop(c, before);
    }
    return 0;
}

static int unknown(const struct check *c, const struct field_set *set, const char *name)
{
    CLEANUP(buf_done) struct buf known = BUF_INIT(512);
    CLEANUP(buf_done) struct buf place = BUF_INIT(320);

    for (const struct field *f = set->fields; f->name; f++) {
        buf_addf(&known, "%s%s", f == set->fields ? "" : ", ", f->name);
    }
    add_place(c, NULL, &place);
    return err_set(c->err, ENOENT, "%s: there is no such field; known are: %s",
                   place.len && *name ? place.data : "(an empty name)",
                   known.len ? known.data : "none");
}

static int check_object(struct check *c, const struct field_set *set, const json_t *object)
{
    const char *name = NULL;
    json_t *value = NULL;

    json_object_foreach((json_t *)object, name, value) {
        const struct field *f = fields_find(set, name);
        size_t before = push(c, name);
        int rc = f ? check_value(c, f, value) : unknown(c, set, name);
        if (rc < 0) {
            return rc;
        }
        pop(c, before);
    }
    for (const struct field *f = set->fields; f->name; f++) {
        if ((f->flags & FIELD_REQUIRED) && !json_object_get(object, f->name)) {
            CLEANUP(buf_done) struct buf what = BUF_INIT(512), place = BUF_INIT(512);
            field_describe(f, &what);
            add_place(c, f->name, &place);
            return err_set(c->err, EINVAL, "%s: is missing; must be %s",
                           place.data ? place.data : f->name, what.data ? what.data : "");
        }
    }
    return 0;
}

int fields_check(const struct field_set *set, const json_t *object,
                 char ret_pointer[static FIELD_POINTER_BYTES], struct error *err)
{
    struct check c = {.pointer = ret_pointer, .err = err};

    ret_pointer[0] = '\0';
    if (!json_is_object(object)) {
        return err_set(err, EINVAL, "must be an object, not %s", kind_of(object));
    }
    return check_object(&c, set, object);
}

int field_from_text(const struct field *field, const char *text, json_t **ret, struct error *err)
{
    char pointer[FIELD_POINTER_BYTES] = "";
    struct check c = {.pointer = pointer, .err = err};
    json_t *v = NULL;
    int64_t n = 0;

    if (field->type == FIELD_INT && !text_parse_int(text, "", INT64_MIN + 1, INT64_MAX, &n, NULL)) {
        v = json_integer(n);
    } else if (field->type == FIELD_BOOL && (!strcmp(text, "true") || !strcmp(text, "false"))) {
        v = json_boolean(text[0] == 't');
    } else {
        v = json_string(text); /* NULL when it is not UTF-8 */
    }
    if (!v) {
        return err_set(err, EINVAL, "%s: is not valid UTF-8", field->name);
    }
    int rc = check_one(&c, field, v);
    if (rc < 0) {
        json_decref(v);
        return rc;
    }
    *ret = v;
    return 0;
}

/* --- schema --------------------------------------------------------------------------------- */

static void add_type(const char *name, unsigned flags, struct json_out *w)
{
    if (!(flags & FIELD_NULLABLE)) {
        json_out_str(w, "type", name);
        return;
    }
    json_out_array(w, "type");
    json_out_str(w, NULL, name);
    json_out_str(w, NULL, "null");
    json_out_end_array(w);
}

static void add_words(const struct field *f, unsigned flags, struct json_out *w)
{
    add_type("string", flags, w);
    json_out_array(w, "enum");
    for (const char *at = f->words; *at;) {
        size_t len = strcspn(at, "|");
        json_out_strn(w, NULL, at, len);
        at += len + (at[len] == '|');
    }
    if (flags & FIELD_NULLABLE) {
        json_out_null(w, NULL);
    }
    json_out_end_array(w);
}

static void add_labels(unsigned flags, struct json_out *w)
{
    add_type("object", flags, w);
    json_out_int(w, "maxProperties", FIELD_LABELS_MAX);
    json_out_object(w, "propertyNames");
    json_out_int(w, "minLength", 1);
    json_out_int(w, "maxLength", FIELD_LABEL_NAME_BYTES);
    json_out_end_object(w);
    json_out_object(w, "additionalProperties");
    json_out_str(w, "type", "string");
    json_out_int(w, "maxLength", FIELD_LABEL_VALUE_BYTES);
    json_out_end_object(w);
}

static void add_ref(const struct field *f, unsigned flags, struct json_out *w)
{
    char ref[96];

    snprintf(ref, sizeof(ref), "#/components/schemas/%s", f->set->name);
    if (!(flags & FIELD_NULLABLE)) {
        json_out_str(w, "$ref", ref);
        return;
    }
    json_out_array(w, "anyOf");
    json_out_object(w, NULL);
    json_out_str(w, "$ref", ref);
    json_out_end_object(w);
    json_out_object(w, NULL);
    json_out_str(w, "type", "null");
    json_out_end_object(w);
    json_out_end_array(w);
}

/* The members of one value's schema, without those of a list around it. */
static void add_one(const struct field *f, unsigned flags, struct json_out *w)
{
    switch (f->type) {
    case FIELD_ENUM:
        add_words(f, flags, w);
        break;
    case FIELD_INT:
        add_type("integer", flags, w);
        json_out_int(w, "minimum", f->min);
        json_out_int(w, "maximum", f->max);
        break;
    case FIELD_NUMBER:
        add_type("number", flags, w);
        break;
    case FIELD_BOOL:
        add_type("boolean", flags, w);
        break;
    case FIELD_TIME:
        add_type("string", flags, w);
        json_out_str(w, "format", "date-time");
        break;
    case FIELD_LABELS:
        add_labels(flags, w);
        break;
    case FIELD_OBJECT:
        add_ref(f, flags, w);
        break;
    case FIELD_OPEN:
        add_type("object", flags, w);
        break;
    default:
        add_type("string", flags, w);
        json_out_int(w, "minLength", f->min ? 1 : 0); /* bytes are counted, not characters */
        json_out_int(w, "maxLength", f->max);
        break;
    }
}

static void add_field(const struct field *f, struct json_out *w)
{
    if (f->flags & FIELD_LIST) {
        add_type("array", f->flags, w);
        json_out_int(w, "maxItems", f->list_max);
        json_out_object(w, "items");
        add_one(f, 0, w);
        json_out_end_object(w);
    } else {
        add_one(f, f->flags, w);
    }
    if (f->def) {
        json_out_raw(w, "default", f->def);
    }
    if (f->doc) {
        json_out_str(w, "description", f->doc);
    }
}

void field_add_schema(const struct field *field, struct buf *ret)
{
    struct json_out w = {.b = ret};

    json_out_object(&w, NULL);
    add_field(field, &w);
    json_out_end_object(&w);
}

void fields_add_schema(const struct field_set *set, bool is_answer, struct buf *ret)
{
    struct json_out w = {.b = ret};

    json_out_object(&w, NULL);
    json_out_str(&w, "type", "object");
    if (set->doc) {
        json_out_str(&w, "description", set->doc);
    }
    json_out_bool(&w, "additionalProperties", false);
    json_out_array(&w, "required");
    for (const struct field *f = set->fields; f->name; f++) {
        if (is_answer || (f->flags & FIELD_REQUIRED)) {
            json_out_str(&w, NULL, f->name);
        }
    }
    json_out_end_array(&w);
    json_out_object(&w, "properties");
    for (const struct field *f = set->fields; f->name; f++) {
        json_out_object(&w, f->name);
        add_field(f, &w);
        json_out_end_object(&w);
    }
    json_out_end_object(&w);
    json_out_end_object(&w);
}
