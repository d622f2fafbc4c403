/* mig-parted's files: what they say, and what is wrong with them. */
#include "api/partedfile.h"
#include "base/tree.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct parted_config *read_file(const char *name, const char *config)
{
    CLEANUP(tree_doc_freep) struct tree_doc *doc = NULL;
    CLEANUP(freep) char *text = NULL;
    struct parted_config *c = NULL;
    char path[400], pointer[FIELD_POINTER_BYTES];
    struct error err = {0};
    size_t len = 0;

    snprintf(path, sizeof(path), "%s/tests/data/parted/%s.yaml", TANGRAM_SOURCE_DIR, name);
    if (tree_read_file(path, 1 << 20, &text, &len, &err) < 0 ||
        tree_from_yaml(text, len, name, &doc, &err) < 0 ||
        parted_parse(tree_doc_root(doc), config, &c, pointer, &err) < 0) {
        fail_msg("%s", err.msg);
    }
    return c;
}

static unsigned count_of(const struct parted_entry *e, const char *profile)
{
    for (unsigned i = 0; e && i < e->want_count; i++) {
        if (!strcmp(e->want[i].profile, profile)) {
            return e->want[i].count;
        }
    }
    return 0;
}

static void all_disabled_and_enabled(void **state)
{
    CLEANUP(parted_config_freep) struct parted_config *off = read_file("all-disabled", NULL);
    CLEANUP(parted_config_freep) struct parted_config *on = read_file("all-enabled", NULL);
    (void)state;
    assert_string_equal(off->name, "all-disabled");
    assert_false(parted_find(off, 5, 0)->is_mig_enabled);
    assert_true(parted_find(on, 5, 0)->is_mig_enabled);
    assert_int_equal(parted_find(on, 5, 0)->want_count, 0);
}

static void uniform_and_mixed(void **state)
{
    CLEANUP(parted_config_freep) struct parted_config *one = read_file("all-1g.10gb",
                                                                       "all-1g.10gb");
    CLEANUP(parted_config_freep) struct parted_config *mixed = read_file("mixed", NULL);
    (void)state;
    assert_int_equal(count_of(parted_find(one, 0, 0), "1g.10gb"), 7);
    assert_int_equal(count_of(parted_find(mixed, 0, 0), "1g.10gb"), 2);
    assert_int_equal(count_of(parted_find(mixed, 0, 0), "3g.40gb"), 1);
}

static void per_device(void **state)
{
    CLEANUP(parted_config_freep) struct parted_config *c = read_file("per-device", "per-device");
    CLEANUP(parted_config_freep) struct parted_config *swapped = read_file("per-device", "swapped");
    (void)state;
    assert_int_equal(count_of(parted_find(c, 0, 0), "3g.40gb"), 2);
    assert_false(parted_find(c, 1, 0)->is_mig_enabled);
    assert_null(parted_find(c, 2, 0));
    assert_int_equal(count_of(parted_find(swapped, 1, 0), "1g.10gb+me"), 1);
}

/* Entries apply one after the other, so the last that matches counts. */
static void filtered(void **state)
{
    CLEANUP(parted_config_freep) struct parted_config *c = read_file("filtered", "by-model");
    (void)state;
    assert_int_equal(count_of(parted_find(c, 0, 0x233010de), "1g.10gb"), 7);
    assert_int_equal(count_of(parted_find(c, 3, 0x20b510de), "2g.20gb"), 3);
    assert_false(parted_find(c, 4, 0x20b510de)->is_mig_enabled);
    assert_false(parted_find(c, 0, 0)->is_mig_enabled); /* an unknown model matches no filter */
}

static void compute_instances(void **state)
{
    CLEANUP(parted_config_freep) struct parted_config *c = read_file("compute", NULL);
    (void)state;
    assert_int_equal(count_of(parted_find(c, 0, 0), "1c.3g.40gb"), 3);
    assert_int_equal(count_of(parted_find(c, 0, 0), "2c.4g.40gb"), 2);
}

#define FILE_OF(entry) "{version: v1, mig-configs: {a: [" entry "]}}"

static void wrong_files_are_refused_with_the_place(void **state)
{
    static const struct {
        const char *yaml, *pointer, *why;
    } bad[] = {
        {"[]", "", "must be an object"},
        {"{mig-configs: {}}", "", "version: is missing"},
        {"{version: v2, mig-configs: {}}", "/version", "must be \"v1\""},
        {"{version: 1, mig-configs: {}}", "/version", "must be \"v1\""},
        {"{version: v1}", "", "mig-configs: must be an object"},
        {"{version: v1, mig-configs: {}}", "/mig-configs", "at least one"},
        {"{version: v1, mig-config: {}}", "/mig-config", "there is no such field"},
        {"{version: v1, mig-configs: {a: {}}}", "/mig-configs/a", "a list of 1 to 64"},
        {"{version: v1, mig-configs: {a: []}}", "/mig-configs/a", "a list of 1 to 64"},
        {"{version: v1, mig-configs: {a/b: [1]}}", "/mig-configs/a~1b/0", "must be an object"},
        {FILE_OF("{mig-enabled: false}"), "/mig-configs/a/0", "devices: is missing"},
        {FILE_OF("{devices: all}"), "/mig-configs/a/0", "mig-enabled: is missing"},
        {FILE_OF("{devices: all, mig-enabled: true}"), "/mig-configs/a/0", "mig-devices: is missi"},
        {FILE_OF("{devices: some, mig-enabled: false}"), "/mig-configs/a/0/devices", "\"all\""},
        {FILE_OF("{devices: [0, -1], mig-enabled: false}"), "/mig-configs/a/0/devices/1",
         "indices"},
        {FILE_OF("{devices: [0, all], mig-enabled: false}"), "/mig-configs/a/0/devices/1", "indic"},
        {FILE_OF("{devices: all, mig-enabled: 1}"), "/mig-configs/a/0/mig-enabled",
         "true or false"},
        {FILE_OF("{devices: all, mig-enabled: false, mig-devices: {1g.5gb: 1}}"),
         "/mig-configs/a/0/mig-devices", "must be empty"},
        {FILE_OF("{devices: all, mig-enabled: true, mig-devices: {1g: 1}}"),
         "/mig-configs/a/0/mig-devices/1g", "not the name of a profile"},
        {FILE_OF("{devices: all, mig-enabled: true, mig-devices: {1g.5gb: -1}}"),
         "/mig-configs/a/0/mig-devices/1g.5gb", "from 0 to 64"},
        {FILE_OF("{devices: all, mig-enabled: true, mig-devices: {1g.5gb: 1.5}}"),
         "/mig-configs/a/0/mig-devices/1g.5gb", "from 0 to 64"},
        {FILE_OF("{devices: all, mig-enabled: true, mig-devices: [1g.5gb]}"),
         "/mig-configs/a/0/mig-devices", "how many of each profile"},
        {FILE_OF("{devices: all, mig-enabled: false, device-filter: A100}"),
         "/mig-configs/a/0/device-filter", "PCI ids"},
        {FILE_OF("{devices: all, mig-enabled: false, device-filter: 7}"),
         "/mig-configs/a/0/device-filter", "PCI ids"},
        {FILE_OF("{devices: all, mig-enabled: false, device-filter: [\"0x1\", 2]}"),
         "/mig-configs/a/0/device-filter/1", "PCI ids"},
        {FILE_OF("{devices: all, mig-enabled: false, device-filter: []}"),
         "/mig-configs/a/0/device-filter", "1 to 16"},
        {FILE_OF("{devices: all, mig-enabled: false, mig-device: {}}"),
         "/mig-configs/a/0/mig-device", "there is no such field; known are: devices"},
        /* what is wrong in another configuration counts too */
        {"{version: v1, mig-configs: {b: [{devices: all, mig-enabled: false}], c: [1]}}",
         "/mig-configs/c/0", "must be an object"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        CLEANUP(tree_doc_freep) struct tree_doc *doc = NULL;
        struct parted_config *c = NULL;
        char pointer[FIELD_POINTER_BYTES];
        struct error err = {0};
        assert_int_equal(tree_from_yaml(bad[i].yaml, strlen(bad[i].yaml), "t", &doc, &err), 0);
        int rc = parted_parse(tree_doc_root(doc), NULL, &c, pointer, &err);
        if (rc != -EINVAL || strcmp(pointer, bad[i].pointer) != 0 || !strstr(err.msg, bad[i].why)) {
            fail_msg("%s: %d at '%s': %s", bad[i].yaml, rc, pointer, err.msg);
        }
        assert_null(c);
    }
}

static void profiles_are_told_by_their_form(void **state)
{
    static const char *const good[] = {"1g.5gb",       "7g.80gb",      "1g.10gb+me", "1g.24gb-me",
                                       "4g.96gb+gfx",  "1c.3g.40gb",   "2g.48gb+me.all",
                                       "1c.1g.5gb+me", "10g.160gb"};
    static const char *const bad[] = {"",       "1g.",          "1g.5g",   "g.5gb",
                                      "1g.5gb+", "1g.5gb me",   "1c.5gb",  "1c.1c.1g.5gb",
                                      "1g.5gbx", "1g.5gb+ME",   "gpu",
                                      "1g.5gb+aaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(good) + ARRAY_SIZE(bad); i++) {
        bool is_good = i < ARRAY_SIZE(good);
        const char *name = is_good ? good[i] : bad[i - ARRAY_SIZE(good)];
        CLEANUP(json_decrefp) json_t *file =
            json_pack("{s:s, s:{s:[{s:s, s:b, s:{s:i}}]}}", "version", "v1", "mig-configs", "a",
                      "devices", "all", "mig-enabled", 1, "mig-devices", name, 1);
        CLEANUP(parted_config_freep) struct parted_config *c = NULL;
        char pointer[FIELD_POINTER_BYTES];
        struct error err = {0};
        if ((parted_parse(file, NULL, &c, pointer, &err) == 0) != is_good) {
            fail_msg("'%s' is %s", name, is_good ? "good" : "bad");
        }
    }
}

static void one_of_several_has_to_be_named(void **state)
{
    static const char text[] = "{version: v1, mig-configs: {a: [{devices: all, mig-enabled: "
                               "false}], b: [{devices: [1], mig-enabled: false}]}}";
    CLEANUP(tree_doc_freep) struct tree_doc *doc = NULL;
    CLEANUP(parted_config_freep) struct parted_config *c = NULL;
    char pointer[FIELD_POINTER_BYTES];
    struct error err = {0};
    (void)state;
    assert_int_equal(tree_from_yaml(text, strlen(text), "t", &doc, &err), 0);
    assert_int_equal(parted_parse(tree_doc_root(doc), NULL, &c, pointer, &err), -ENOENT);
    assert_non_null(strstr(err.msg, "name one of: a, b"));
    assert_int_equal(parted_parse(tree_doc_root(doc), "x", &c, pointer, &err), -ENOENT);
    assert_non_null(strstr(err.msg, "there is no configuration 'x', only: a, b"));
    assert_int_equal(parted_parse(tree_doc_root(doc), "b", &c, pointer, &err), 0);
    assert_string_equal(c->name, "b");
    assert_int_equal(c->entry[0].device[0], 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_disabled_and_enabled),
        cmocka_unit_test(uniform_and_mixed),
        cmocka_unit_test(per_device),
        cmocka_unit_test(filtered),
        cmocka_unit_test(compute_instances),
        cmocka_unit_test(wrong_files_are_refused_with_the_place),
        cmocka_unit_test(profiles_are_told_by_their_form),
        cmocka_unit_test(one_of_several_has_to_be_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
