/* The table of fields: what it accepts, what it says, and the JSON that is written by hand. */
#include "api/fields.h"
#include "base/json.h"
#include "base/cleanup.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static const struct field inner_fields[] = {
    {.name = "n", .type = FIELD_INT, .min = 1, .max = 9, .flags = FIELD_REQUIRED},
    {0},
};
static const struct field_set inner = {.name = "Inner", .fields = inner_fields};

static const struct field outer_fields[] = {
    {.name = "text", .type = FIELD_STRING, .min = 1, .max = 4, .flags = FIELD_NULLABLE},
    {.name = "word", .type = FIELD_WORD, .min = 1, .max = 4},
    {.name = "pick", .type = FIELD_ENUM, .words = "a|bc|d", .def = "\"a\"",
     .doc = "one of \"them\""},
    {.name = "real", .type = FIELD_NUMBER},
    {.name = "flag", .type = FIELD_BOOL},
    {.name = "for", .type = FIELD_DURATION, .min = 1000, .max = 60000},
    {.name = "labels", .type = FIELD_LABELS},
    {.name = "in", .type = FIELD_OBJECT, .set = &inner},
    {.name = "list", .type = FIELD_OBJECT, .set = &inner, .flags = FIELD_LIST, .list_max = 2},
    {.name = "ints", .type = FIELD_INT, .max = 5, .flags = FIELD_LIST, .list_max = 3},
    {.name = "open", .type = FIELD_OPEN},
    {0},
};
static const struct field_set outer = {.name = "Outer", .fields = outer_fields};

static int check(const char *text, char *pointer, struct error *err)
{
    CLEANUP(json_decrefp) json_t *v = json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);

    assert_non_null(v);
    return fields_check(&outer, v, pointer, err);
}

static void good_values_pass(void **state)
{
    static const char *const good[] = {
        "{}",
        "{\"text\":null}",
        "{\"text\":\"\xc3\xa9\xc3\xa9\"}",
        "{\"word\":\"x\"}",
        "{\"word\":12345}",
        "{\"pick\":\"bc\"}",
        "{\"real\":1.5,\"flag\":false}",
        "{\"for\":\"1m\"}",
        "{\"labels\":{\"k\":\"\"}}",
        "{\"in\":{\"n\":1},\"list\":[{\"n\":9},{\"n\":2}],\"ints\":[],\"open\":{\"any\":[1]}}",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        char pointer[FIELD_POINTER_BYTES];
        struct error err = {0};
        if (check(good[i], pointer, &err) < 0) {
            fail_msg("%s: %s", good[i], err.msg);
        }
    }
}

static void bad_values_are_named(void **state)
{
    static const struct {
        const char *text;
        int code;
        const char *pointer, *why;
    } bad[] = {
        {"7", -EINVAL, "", "must be an object, not a whole number"},
        {"{\"x\":1}", -ENOENT, "/x", "x: there is no such field; known are: text, word"},
        {"{\"a~/b\":1}", -ENOENT, "/a~0~1b", "there is no such field"},
        {"{\"\\u0007\":1}", -ENOENT, "/\a", "\\x07: there is no such field"},
        {"{\"text\":\"\"}", -EINVAL, "/text", "text of 1 to 4 bytes without control characters, or "
                                              "null, not \"\""},
        {"{\"text\":\"\xc3\xa9\xc3\xa9x\"}", -EINVAL, "/text", "text:"},
        {"{\"text\":\"a\\u0000\"}", -EINVAL, "/text", "text:"},
        {"{\"text\":\"a\\u009f\"}", -EINVAL, "/text",
         "not text of 3 bytes with control characters"},
        {"{\"text\":\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"}", -EINVAL, "/text",
         "not text of 41 bytes"},
        {"{\"word\":-1}", -EINVAL, "/word", "or a whole number, not -1"},
        {"{\"pick\":\"b\"}", -EINVAL, "/pick", "must be \"a\", \"bc\" or \"d\", not \"b\""},
        {"{\"pick\":\"\"}", -EINVAL, "/pick", "not \"\""},
        {"{\"pick\":\"a|bc\"}", -EINVAL, "/pick", "not \"a|bc\""},
        {"{\"flag\":1}", -EINVAL, "/flag", "true or false, not 1"},
        {"{\"flag\":null}", -EINVAL, "/flag", "not null"},
        {"{\"for\":\"61s\"}", -EINVAL, "/for", "a duration from 1s to 1m"},
        {"{\"for\":30}", -EINVAL, "/for", "not 30"},
        {"{\"labels\":{\"k\":1}}", -EINVAL, "/labels/k",
         "labels.k: must be text of at most 255 bytes without control characters, not 1"},
        {"{\"labels\":[]}", -EINVAL, "/labels", "not a list"},
        {"{\"in\":{}}", -EINVAL, "/in", "in.n: is missing; must be a whole number from 1 to 9"},
        {"{\"in\":{\"n\":10}}", -EINVAL, "/in/n", "from 1 to 9, not 10"},
        {"{\"in\":{\"n\":1e300}}", -EINVAL, "/in/n", "in.n: must be a whole number from 1 to 9, "
                                                    "not 1e+300"},
        {"{\"in\":{\"n\":1.5}}", -EINVAL, "/in/n", "not 1.5"},
        {"{\"in\":[]}", -EINVAL, "/in", "an object of n, not a list"},
        {"{\"list\":[{\"n\":1},{\"m\":1}]}", -ENOENT, "/list/1/m",
         "list[1].m: there is no such field"},
        {"{\"list\":[{\"n\":1},{\"n\":1},{\"n\":1}]}", -EINVAL, "/list",
         "a list of at most 2, each an object of n, not a list of 3"},
        {"{\"list\":{\"n\":1}}", -EINVAL, "/list", "a list of at most 2, each an object"},
        {"{\"ints\":[5,6]}", -EINVAL, "/ints/1", "ints[1]: must be a whole number from"},
        {"{\"open\":1}", -EINVAL, "/open", "an object"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        char pointer[FIELD_POINTER_BYTES];
        struct error err = {0};
        int rc = check(bad[i].text, pointer, &err);
        if (rc != bad[i].code || strcmp(pointer, bad[i].pointer) != 0 ||
            !strstr(err.msg, bad[i].why)) {
            fail_msg("%s: %d at '%s': %s", bad[i].text, rc, pointer, err.msg);
        }
    }
}

static void too_many_labels_are_refused(void **state)
{
    CLEANUP(json_decrefp) json_t *v = json_object();
    char pointer[FIELD_POINTER_BYTES], name[80];
    struct error err = {0};
    json_t *labels = json_object();
    (void)state;
    json_object_set_new(v, "labels", labels);
    for (int i = 0; i < FIELD_LABELS_MAX; i++) {
        snprintf(name, sizeof(name), "k%d", i);
        json_object_set_new(labels, name, json_string("v"));
    }
    assert_int_equal(fields_check(&outer, v, pointer, &err), 0);
    json_object_set_new(labels, "one-more", json_string("v"));
    assert_int_equal(fields_check(&outer, v, pointer, &err), -EINVAL);
    json_object_clear(labels);
    memset(name, 'n', 64);
    name[64] = '\0';
    json_object_set_new(labels, name, json_string("v"));
    assert_int_equal(fields_check(&outer, v, pointer, &err), -EINVAL);
}

static void long_names_do_not_overflow_the_pointer(void **state)
{
    CLEANUP(json_decrefp) json_t *v = json_object();
    char pointer[FIELD_POINTER_BYTES], name[2000];
    struct error err = {0};
    (void)state;
    memset(name, '~', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    json_object_set_new(v, name, json_null());
    assert_int_equal(fields_check(&outer, v, pointer, &err), -ENOENT);
    assert_true(strlen(pointer) < sizeof(pointer));
}

static void text_becomes_values(void **state)
{
    const struct field *ints = fields_find(&inner, "n"), *flag = fields_find(&outer, "flag");
    json_t *v = NULL;
    struct error err = {0};
    (void)state;
    assert_int_equal(field_from_text(ints, "7", &v, &err), 0);
    assert_int_equal(json_integer_value(v), 7);
    json_decref(v);
    assert_int_equal(field_from_text(flag, "true", &v, &err), 0);
    assert_true(json_is_true(v));
    assert_int_equal(field_from_text(flag, "yes", &v, &err), -EINVAL);
    assert_int_equal(field_from_text(ints, "7x", &v, &err), -EINVAL);
    assert_int_equal(field_from_text(ints, "", &v, &err), -EINVAL);
    assert_int_equal(field_from_text(ints, "99999999999999999999", &v, &err), -EINVAL);
}

static void the_schema_says_the_same(void **state)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(1 << 20);
    (void)state;
    fields_add_schema(&outer, false, &b);
    CLEANUP(json_decrefp) json_t *s = json_loads(b.data, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(s);
    assert_true(json_is_false(json_object_get(s, "additionalProperties")));
    const json_t *p = json_object_get(s, "properties");
    assert_int_equal(json_object_size(p), ARRAY_SIZE(outer_fields) - 1);
    const json_t *pick = json_object_get(p, "pick");
    assert_int_equal(json_array_size(json_object_get(pick, "enum")), 3);
    assert_string_equal(json_string_value(json_object_get(pick, "default")), "a");
    assert_string_equal(json_string_value(json_object_get(pick, "description")), "one of \"them\"");
    assert_int_equal(json_array_size(json_object_get(json_object_get(p, "text"), "type")), 2);
    buf_clear(&b);
    fields_add_schema(&inner, true, &b);
    assert_non_null(strstr(b.data, "\"required\":[\"n\"]"));
}

static void json_is_json_whatever_the_text(void **state)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(1 << 16);
    struct json_out w = {.b = &b};
    (void)state;
    json_out_object(&w, NULL);
    json_out_str(&w, "a\"b", "\\ \x01 \x7f \xc3\xa9 \n");
    json_out_str(&w, "bad", "\xff\xfe" "x");
    json_out_text(&w, "empty", "");
    json_out_int(&w, "least", INT64_MIN);
    json_out_milli(&w, "ms", 131207);
    json_out_array(&w, "list");
    json_out_object(&w, NULL);
    json_out_end_object(&w);
    json_out_null(&w, NULL);
    json_out_raw(&w, NULL, "[1]");
    json_out_end_array(&w);
    json_out_id(&w, "id", "l", 7);
    json_out_id(&w, "none", "l", 0);
    json_out_time(&w, "at", 1);
    json_out_time(&w, "never", 0);
    json_out_end_object(&w);
    CLEANUP(json_decrefp) json_t *v = json_loads(b.data, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(v);
    assert_string_equal(json_string_value(json_object_get(v, "a\"b")), "\\ \x01 \x7f \xc3\xa9 \n");
    assert_string_equal(json_string_value(json_object_get(v, "bad")), "\xef\xbf\xbd\xef\xbf\xbdx");
    assert_true(json_integer_value(json_object_get(v, "least")) == INT64_MIN);
    assert_string_equal(json_string_value(json_object_get(v, "id")), "l-7");
    assert_string_equal(json_string_value(json_object_get(v, "at")), "1970-01-01T00:00:00.001Z");
    assert_true(json_is_null(json_object_get(v, "never")));
    assert_true(json_real_value(json_object_get(v, "ms")) > 131.2069);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_values_pass),
        cmocka_unit_test(bad_values_are_named),
        cmocka_unit_test(too_many_labels_are_refused),
        cmocka_unit_test(long_names_do_not_overflow_the_pointer),
        cmocka_unit_test(text_becomes_values),
        cmocka_unit_test(the_schema_says_the_same),
        cmocka_unit_test(json_is_json_whatever_the_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
