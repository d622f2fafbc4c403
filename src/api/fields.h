#pragma once
#include "base/buf.h"
#include "base/error.h"
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a JSON object may hold: tables of fields that check what comes in, and from which the
 * OpenAPI document and the reference of the configuration file are printed.
 *
 * Includes base/ only; pure, any thread. */

enum field_type {
    FIELD_STRING,   /* min..max bytes of UTF-8 without control characters */
    FIELD_WORD,     /* the same, or a whole number (a user's name or number in YAML) */
    FIELD_ENUM,     /* one of `words`, "a|b|c" */
    FIELD_INT,      /* min..max */
    FIELD_NUMBER,   /* any */
    FIELD_BOOL,
    FIELD_TIME,     /* "2026-11-21T23:59:40.123Z"; only in answers */
    FIELD_DURATION, /* "30s", "1h30m", min..max milliseconds */
    FIELD_LABELS,   /* object of at most 32 strings */
    FIELD_OBJECT,   /* as `set` says */
    FIELD_OPEN,     /* any object; who uses it checks it */
    FIELD_TYPE_COUNT
};

enum field_flags {
    FIELD_REQUIRED = 1,
    FIELD_NULLABLE = 2, /* null, or absent, means nothing */
    FIELD_LIST = 4,     /* a list of it, at most list_max entries */
};

#define FIELD_LABELS_MAX 32
#define FIELD_LABEL_NAME_BYTES 63
#define FIELD_LABEL_VALUE_BYTES 255

struct field_set;

struct field {
    const char *name;
    enum field_type type;
    unsigned flags;
    int64_t min, max;
    unsigned list_max;
    const char *words;
    const struct field_set *set;
    const char *def; /* the default, as JSON; NULL none */
    const char *doc;
};

struct field_set {
    const char *name;            /* "LeaseRequest", its name in the OpenAPI document */
    const char *doc;
    const struct field *fields;  /* ends with an all-zero row */
};

#define FIELD_POINTER_BYTES 192

/* Does the object keep to the table?  On failure ret_pointer is the place as a JSON pointer.
 * -EINVAL: wrong type or range, or something required is missing; -ENOENT: an unknown field. */
int fields_check(const struct field_set *set, const json_t *object,
                 char ret_pointer[static FIELD_POINTER_BYTES], struct error *err);

/* The same for one value from a URL's query or a header: *ret is the value as JSON (owned by the
 * caller). */
int field_from_text(const struct field *field, const char *text, json_t **ret, struct error *err);

const struct field *fields_find(const struct field_set *set, const char *name);

/* Appends "a whole number from 1 to 64, or null": what the field accepts, for people. */
void field_describe(const struct field *field, struct buf *ret);

/* Appends the set as a JSON Schema (2020-12).  What is not listed is forbidden in a body
 * (is_answer false); in an answer every member is always there. */
void fields_add_schema(const struct field_set *set, bool is_answer, struct buf *ret);
/* One field's schema, with its description. */
void field_add_schema(const struct field *field, struct buf *ret);
