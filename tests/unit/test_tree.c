#include "base/tree.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static int yaml(const char *text, struct tree_doc **ret, struct error *err)
{
    return tree_from_yaml(text, strlen(text), "t.yaml", ret, err);
}

static void yaml_becomes_json(void **state)
{
    CLEANUP(tree_doc_freep) struct tree_doc *doc = NULL;
    struct error err = {0};
    (void)state;
    assert_int_equal(yaml("version: v1\nlist:\n  - {a: 1, b: \"2\"}\n  - true\n  - ~\n  - 1g.5gb\n"
                          "  - 1.5\n", &doc, &err), 0);
    char *text = json_dumps(tree_doc_root(doc), JSON_COMPACT);
    assert_string_equal(
        text, "{\"version\":\"v1\",\"list\":[{\"a\":1,\"b\":\"2\"},true,null,\"1g.5gb\",1.5]}");
    free(text);
}

static void yaml_knows_where_a_value_stood(void **state)
{
    CLEANUP(tree_doc_freep) struct tree_doc *doc = NULL;
    struct error err = {0};
    (void)state;
    assert_int_equal(yaml("a:\n  - x: 1\n    yy: true\n", &doc, &err), 0);
    assert_int_equal(tree_doc_fail(doc, "/a/0/yy", &err, "no"), -EINVAL);
    assert_string_equal(err.msg, "t.yaml:3:9: no");
    assert_int_equal(tree_doc_fail_key(doc, "/a/0/yy", &err, "no"), -EINVAL);
    assert_string_equal(err.msg, "t.yaml:3:5: no");
    assert_int_equal(tree_doc_fail_key(doc, "/a", &err, "no"), -EINVAL);
    assert_string_equal(err.msg, "t.yaml:1:1: no");
    assert_int_equal(tree_doc_fail_key(doc, "/a/0", &err, "no"), -EINVAL);
    assert_string_equal(err.msg, "t.yaml:2:5: no");
}

/* As editors of other systems save it: a byte order mark, and lines that end with CR and LF. */
static void yaml_of_other_systems(void **state)
{
    static const char text[] = "\xef\xbb\xbf""a: 1\r\nb: [x, 'y']\r\n";
    CLEANUP(tree_doc_freep) struct tree_doc *doc = NULL;
    struct error err = {0};

    (void)state;
    assert_int_equal(tree_from_yaml(text, strlen(text), "t.yaml", &doc, &err), 0);
    assert_int_equal(json_integer_value(json_object_get(tree_doc_root(doc), "a")), 1);
    const json_t *list = json_object_get(tree_doc_root(doc), "b");
    assert_string_equal(json_string_value(json_array_get(list, 1)), "y");
}

static void yaml_refuses(void **state)
{
    static const struct {
        const char *text, *why;
    } bad[] = {
        {"a: &x 1\nb: *x\n", "t.yaml:2:4: aliases"},
        {"a: 1\na: 2\n", "t.yaml:2:1: this key stands twice"},
        {"a: [1\n", "t.yaml:2:1"},
        {"? [a]\n: 1\n", "a key must be a plain word"},
        {"--- 1\n--- 2\n", "only one document"},
        {"a: \"\\0\"\n", "NUL"},
        {"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", "nested deeper"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        CLEANUP(tree_doc_freep) struct tree_doc *doc = NULL;
        struct error err = {0};
        assert_true(yaml(bad[i].text, &doc, &err) < 0);
        if (!strstr(err.msg, bad[i].why)) {
            fail_msg("'%s' lacks '%s'", err.msg, bad[i].why);
        }
    }
}

static void json_refuses(void **state)
{
    static const struct {
        const char *text, *why;
    } bad[] = {
        {"{\"a\":1,\"a\":2}", "duplicate"},
        {"{\"a\":\"\xff\"}", "unable to decode"},
        {"{\"a\":\"\\u0000\"}", "\\u0000 is not allowed in text"},
        {"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]", "deeper"},
        {"{} x", "end of file"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        CLEANUP(json_decrefp) json_t *root = NULL;
        struct error err = {0};
        assert_true(tree_from_json(bad[i].text, strlen(bad[i].text), &root, &err) < 0);
        if (!strstr(err.msg, bad[i].why)) {
            fail_msg("'%s' lacks '%s'", err.msg, bad[i].why);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(yaml_becomes_json),
        cmocka_unit_test(yaml_knows_where_a_value_stood),
        cmocka_unit_test(yaml_of_other_systems),
        cmocka_unit_test(yaml_refuses),
        cmocka_unit_test(json_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
