/* mig-parted's file format.
 *
 * The rules are those of mig-parted's own reader (fields that must be there, fields that must not)
 * plus caps.  Every configuration of the file is checked, not only the one that is asked for: a
 * file that is half right should not pass today and fail tomorrow. */
#include "api/partedfile.h"
#include "base/text.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct reader {
    char *pointer; /* FIELD_POINTER_BYTES */
    struct error *err;
};

static int fail(const struct reader *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static int fail(const struct reader *r, const char *fmt, ...)
{
    char text[256];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    return err_set(r->err, EINVAL, "%s", text);
}

/* Goes one level down; the returned length takes it back with pop(). */
static size_t push(struct reader *r, const char *name)
{
    size_t before = strlen(r->pointer), at = before;

    if (at + 2 < FIELD_POINTER_BYTES) {
        r->pointer[at++] = '/';
    }
    for (; *name && at + 3 < FIELD_POINTER_BYTES; name++) {
        if (*name == '~' || *name == '/') {
            r->pointer[at++] = '~';
            r->pointer[at++] = *name == '~' ? '0' : '1';
        } else {
            r->pointer[at++] = *name;
        }
    }
    r->pointer[at] = '\0';
    return before;
}

static size_t push_index(struct reader *r, size_t index)
{
    char number[24];

    snprintf(number, sizeof(number), "%zu", index);
    return push(r, number);
}

static void pop(struct reader *r, size_t before)
{
    r->pointer[before] = '\0';
}

static int unknown_field(const struct reader *r, const char *name, const char *known)
{
    CLEANUP(buf_done) struct buf shown = BUF_INIT(120);

    text_add_escaped(&shown, name);
    return fail(r, "%s: there is no such field; known are: %s",
                shown.len ? shown.data : "(a long name)", known);
}

/* --- one entry ------------------------------------------------------------------------------ */

static int read_devices(struct reader *r, const json_t *v, struct parted_entry *e)
{
    if (json_is_string(v) && !strcmp(json_string_value(v), "all")) {
        e->is_all = true;
        return 0;
    }
    if (!json_is_array(v) || json_array_size(v) > PARTED_DEVICES_MAX) {
        return fail(r, "devices: must be \"all\" or a list of at most %d GPU indices, as in [0, 1]",
                    PARTED_DEVICES_MAX);
    }
    for (size_t i = 0; i < json_array_size(v); i++) {
        const json_t *n = json_array_get(v, i);
        size_t before = push_index(r, i);
        if (!json_is_integer(n) || json_integer_value(n) < 0 || json_integer_value(n) > 9999) {
            return fail(r, "devices: must be GPU indices from 0");
        }
        e->device[e->device_count++] = (uint32_t)json_integer_value(n);
        pop(r, before);
    }
    return 0;
}

static int add_filter(const struct reader *r, const json_t *v, struct parted_entry *e)
{
    const char *s = json_string_value(v);
    char *end = NULL;

    if (!s || strncasecmp(s, "0x", 2) != 0 || strlen(s) < 3 || strlen(s) > 10 ||
        strspn(s + 2, "0123456789abcdefABCDEF") != strlen(s + 2)) {
        return fail(r, "device-filter: must be PCI ids as text: device, then vendor, as in "
                       "\"0x233010DE\"");
    }
    e->filter[e->filter_count++] = (uint32_t)strtoul(s, &end, 16);
    return 0;
}

static int read_filter(struct reader *r, const json_t *v, struct parted_entry *e)
{
    if (!json_is_array(v)) {
        return add_filter(r, v, e);
    }
    if (json_array_size(v) == 0 || json_array_size(v) > PARTED_FILTERS_MAX) {
        return fail(r, "device-filter: must be 1 to %d PCI ids", PARTED_FILTERS_MAX);
    }
    for (size_t i = 0; i < json_array_size(v); i++) {
        size_t before = push_index(r, i);
        int rc = add_filter(r, json_array_get(v, i), e);
        if (rc < 0) {
            return rc;
        }
        pop(r, before);
    }
    return 0;
}

/* Steps over digits and the text behind them; false (and no step) when they are not there. */
static bool skip_number(const char **at, const char *behind)
{
    size_t digits = strspn(*at, "0123456789"), n = strlen(behind);

    if (digits == 0 || strncmp(*at + digits, behind, n) != 0) {
        return false;
    }
    *at += digits + n;
    return true;
}

/* "2g.20gb", "1g.10gb+me", "1c.3g.40gb", "7g.96gb+me.all", "1g.24gb-me"; what a model really has is
 * checked later, against its own table. */
static bool is_profile(const char *s)
{
    const char *at = s;

    if (strlen(s) >= sizeof(((struct parted_entry *)0)->want[0].profile)) {
        return false;
    }
    skip_number(&at, "c.");
    if (!skip_number(&at, "g.") || !skip_number(&at, "gb")) {
        return false;
    }
    if (*at == '\0') {
        return true;
    }
    return (*at == '+' || *at == '-') && at[1] &&
           strspn(at + 1, "abcdefghijklmnopqrstuvwxyz0123456789.,+-") == strlen(at + 1);
}

static int read_wants(struct reader *r, const json_t *v, struct parted_entry *e)
{
    const char *name = NULL;
    json_t *count = NULL;

    if (!json_is_object(v) || json_object_size(v) > PARTED_WANTS_MAX) {
        return fail(r, "mig-devices: must say how many of each profile, at most %d profiles, as in "
                       "{1g.10gb: 2}", PARTED_WANTS_MAX);
    }
    json_object_foreach((json_t *)v, name, count) {
        size_t before = push(r, name);
        if (!is_profile(name)) {
            CLEANUP(buf_done) struct buf shown = BUF_INIT(120);
            text_add_escaped(&shown, name);
            return fail(r, "mig-devices: '%s' is not the name of a profile, as in 2g.20gb, "
                           "1g.10gb+me or 1c.3g.40gb", shown.len ? shown.data : "");
        }
        if (!json_is_integer(count) || json_integer_value(count) < 0 ||
            json_integer_value(count) > PARTED_COUNT_MAX) {
            return fail(r, "mig-devices: the count of %s must be a whole number from 0 to %d", name,
                        PARTED_COUNT_MAX);
        }
        text_copy(e->want[e->want_count].profile, sizeof(e->want[0].profile), name);
        e->want[e->want_count++].count = (unsigned)json_integer_value(count);
        pop(r, before);
    }
    return 0;
}

static int read_enabled(struct reader *r, const json_t *v, struct parted_entry *e)
{
    if (!json_is_boolean(v)) {
        return fail(r, "mig-enabled: must be true or false");
    }
    e->is_mig_enabled = json_is_true(v);
    return 0;
}

static const struct {
    const char *name;
    int (*read)(struct reader *r, const json_t *v, struct parted_entry *e);
} entry_fields[] = {
    {"devices", read_devices},
    {"device-filter", read_filter},
    {"mig-enabled", read_enabled},
    {"mig-devices", read_wants},
};

static int read_entry_fields(struct reader *r, const json_t *v, struct parted_entry *e)
{
    const char *name = NULL;
    json_t *value = NULL;

    json_object_foreach((json_t *)v, name, value) {
        size_t before = push(r, name), i = 0;
        while (i < ARRAY_SIZE(entry_fields) && strcmp(entry_fields[i].name, name) != 0) {
            i++;
        }
        int rc = i < ARRAY_SIZE(entry_fields)
                     ? entry_fields[i].read(r, value, e)
                     : unknown_field(r, name, "devices, device-filter, mig-enabled, mig-devices");
        if (rc < 0) {
            return rc;
        }
        pop(r, before);
    }
    return 0;
}

static int read_entry(struct reader *r, const json_t *v, struct parted_entry *e)
{
    if (!json_is_object(v)) {
        return fail(r, "must be an object with devices, mig-enabled and mig-devices");
    }
    int rc = read_entry_fields(r, v, e);
    if (rc < 0) {
        return rc;
    }
    if (!json_object_get(v, "devices") || !json_object_get(v, "mig-enabled")) {
        return fail(r, "%s: is missing",
                    json_object_get(v, "devices") ? "mig-enabled" : "devices");
    }
    if (e->is_mig_enabled && !json_object_get(v, "mig-devices")) {
        return fail(r, "mig-devices: is missing, though mig-enabled is true ({} is none)");
    }
    if (!e->is_mig_enabled && e->want_count) {
        push(r, "mig-devices");
        return fail(r, "mig-devices: must be empty when mig-enabled is false");
    }
    return 0;
}

/* --- the file ------------------------------------------------------------------------------- */

static int read_config(struct reader *r, const json_t *v, struct parted_config *c)
{
    c->entry_count = 0;
    memset(c->entry, 0, sizeof(c->entry));
    if (!json_is_array(v) || json_array_size(v) == 0 || json_array_size(v) > PARTED_ENTRIES_MAX) {
        return fail(r, "must be a list of 1 to %d entries", PARTED_ENTRIES_MAX);
    }
    for (size_t i = 0; i < json_array_size(v); i++) {
        size_t before = push_index(r, i);
        int rc = read_entry(r, json_array_get(v, i), &c->entry[c->entry_count++]);
        if (rc < 0) {
            return rc;
        }
        pop(r, before);
    }
    return 0;
}

static int read_frame(struct reader *r, const json_t *file, const json_t **ret_configs)
{
    const json_t *version = json_object_get(file, "version");
    const json_t *configs = json_object_get(file, "mig-configs");
    const char *name = NULL;
    json_t *value = NULL;

    if (!json_is_object(file)) {
        return fail(r, "must be an object with version and mig-configs");
    }
    json_object_foreach((json_t *)file, name, value) {
        /* `config` picks one of several in a request body; a file has no such member. */
        if (strcmp(name, "version") != 0 && strcmp(name, "mig-configs") != 0 &&
            strcmp(name, "config") != 0) {
            push(r, name);
            return unknown_field(r, name, "version, mig-configs");
        }
    }
    if (!version) {
        return fail(r, "version: is missing; must be \"v1\"");
    }
    if (!json_is_string(version) || strcmp(json_string_value(version), "v1") != 0) {
        push(r, "version");
        return fail(r, "version: must be \"v1\"");
    }
    if (!json_is_object(configs) || json_object_size(configs) == 0) {
        if (configs) {
            push(r, "mig-configs");
        }
        return fail(r, "mig-configs: must be an object with at least one configuration");
    }
    *ret_configs = configs;
    return 0;
}

static int no_such_config(const struct reader *r, const json_t *configs, const char *name)
{
    CLEANUP(buf_done) struct buf known = BUF_INIT(160);
    CLEANUP(buf_done) struct buf shown = BUF_INIT(80);
    const char *key = NULL;
    json_t *value = NULL;

    json_object_foreach((json_t *)configs, key, value) {
        buf_adds(&known, known.len ? ", " : "");
        text_add_escaped(&known, key);
    }
    if (!name) {
        return err_set(r->err, ENOENT, "config: there are %zu configurations, name one of: %s",
                       json_object_size(configs), known.len ? known.data : "");
    }
    text_add_escaped(&shown, name);
    return err_set(r->err, ENOENT, "config: there is no configuration '%s', only: %s",
                   shown.len ? shown.data : "", known.len ? known.data : "");
}

void parted_config_free(struct parted_config *config)
{
    free(config);
}

int parted_parse(const json_t *file, const char *name, struct parted_config **ret,
                 char ret_pointer[static FIELD_POINTER_BYTES], struct error *err)
{
    struct reader r = {.pointer = ret_pointer, .err = err};
    CLEANUP(parted_config_freep) struct parted_config *c = xcalloc(1, sizeof(*c));
    CLEANUP(parted_config_freep) struct parted_config *found = NULL;
    const json_t *configs = NULL;
    const char *key = NULL;
    json_t *value = NULL;

    ret_pointer[0] = '\0';
    int rc = read_frame(&r, file, &configs);
    if (rc < 0) {
        return rc;
    }
    push(&r, "mig-configs");
    json_object_foreach((json_t *)configs, key, value) {
        size_t before = push(&r, key);
        rc = read_config(&r, value, c);
        if (rc < 0) {
            return rc;
        }
        pop(&r, before);
        if (name ? !strcmp(key, name) : json_object_size(configs) == 1) {
            text_copy(c->name, sizeof(c->name), key);
            found = TAKE_PTR(c);
            c = xcalloc(1, sizeof(*c));
        }
    }
    ret_pointer[0] = '\0';
    if (!found) {
        return no_such_config(&r, configs, name);
    }
    *ret = TAKE_PTR(found);
    return 0;
}

static bool is_for(const struct parted_entry *e, uint32_t index, uint32_t pci_device_id)
{
    bool is_device = e->is_all, is_model = e->filter_count == 0;

    for (unsigned i = 0; i < e->device_count; i++) {
        is_device = is_device || e->device[i] == index;
    }
    for (unsigned i = 0; i < e->filter_count; i++) {
        is_model = is_model || e->filter[i] == pci_device_id;
    }
    return is_device && is_model;
}

const struct parted_entry *parted_find(const struct parted_config *config, uint32_t index,
                                       uint32_t pci_device_id)
{
    for (unsigned i = config->entry_count; i-- > 0;) {
        if (is_for(&config->entry[i], index, pci_device_id)) {
            return &config->entry[i];
        }
    }
    return NULL;
}
