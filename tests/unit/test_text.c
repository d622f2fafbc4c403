#include "base/text.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void duration_reads_what_people_write(void **state)
{
    static const struct {
        const char *text;
        int64_t ms;
    } good[] = {{"0", 0},           {"250ms", 250},   {"30s", 30000}, {"5m", 300000},
                {"1h30m", 5400000}, {"2d", 172800000}};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        int64_t ms = -1;
        char buf[32];
        assert_int_equal(text_parse_duration_ms(good[i].text, &ms, NULL), 0);
        assert_int_equal(ms, good[i].ms);
        assert_int_equal(text_parse_duration_ms(text_format_duration_ms(ms, buf), &ms, NULL),
                         0);
        assert_int_equal(ms, good[i].ms);
    }
}

static void duration_refuses_the_rest(void **state)
{
    static const char *bad[] = {"", "5", "s", "-5s", "5s ", "99999999999d", "1.5h", "5x"};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        int64_t ms = 7;
        struct error err = {0};
        assert_int_equal(text_parse_duration_ms(bad[i], &ms, &err), -EINVAL);
        assert_int_equal(ms, 7);
        assert_non_null(strstr(err.msg, "not a duration"));
    }
}

static void size_has_binary_and_decimal_units(void **state)
{
    uint64_t n = 0;
    (void)state;
    assert_int_equal(text_parse_size("12GiB", &n, NULL), 0);
    assert_int_equal(n, 12ULL << 30);
    assert_int_equal(text_parse_size("10GB", &n, NULL), 0);
    assert_int_equal(n, 10000000000ULL);
    assert_int_equal(text_parse_size("12 GiB", &n, NULL), -EINVAL);
    assert_int_equal(text_parse_size("99999999999TiB", &n, NULL), -EINVAL);
}

static void utf8_is_checked(void **state)
{
    (void)state;
    assert_true(text_is_utf8("Gr\xc3\xbc\xc3\x9f", 6));
    assert_false(text_is_utf8("\xc0\x80", 2));
    assert_false(text_is_utf8("\xed\xa0\x80", 3));
    assert_false(text_is_utf8("\xf4\x90\x80\x80", 4));
    assert_false(text_is_utf8("\xc3", 1));
    assert_true(text_has_control("a\x1b[2J"));
    assert_true(text_has_control("a\xc2\x9b"));
    assert_false(text_has_control("plain \xc3\xbc"));
}

static void escape_shows_control_characters(void **state)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(100);
    (void)state;
    text_add_escaped(&b, "a\x1b[2J\xc3\xbc\xff");
    assert_string_equal(b.data, "a\\x1b[2J\xc3\xbc\\xff");
    buf_clear(&b);
    text_add_escaped(&b, "\xe2\x80\xae\xe2\x80\xa8\xe2\x81\xa6\xd8\x9c\xe2\x80\xa6");
    assert_string_equal(b.data,
                        "\\xe2\\x80\\xae\\xe2\\x80\\xa8\\xe2\\x81\\xa6\\xd8\\x9c\xe2\x80\xa6");
}

static void buffer_stops_at_its_cap(void **state)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(4);
    (void)state;
    buf_adds(&b, "abc");
    buf_adds(&b, "de");
    assert_true(b.is_full);
    assert_string_equal(b.data, "abc");
}

static void int_has_a_range(void **state)
{
    int64_t v = 0;
    (void)state;
    assert_int_equal(text_parse_int("-3", "n", -5, 5, &v, NULL), 0);
    assert_int_equal(v, -3);
    assert_int_equal(text_parse_int("6", "n", -5, 5, &v, NULL), -ERANGE);
    assert_int_equal(text_parse_int("6x", "n", -5, 9, &v, NULL), -EINVAL);
    assert_int_equal(text_parse_int("99999999999999999999", "n", 0, 9, &v, NULL), -EINVAL);
}

static void time_is_a_date_or_so_long_ago(void **state)
{
    static const struct {
        const char *text;
        int64_t ms;
    } good[] = {
        {"2026-11-21", INT64_C(1795219200000)},
        {"2026-11-21T23:59", INT64_C(1795305540000)},
        {"2026-11-21 23:59:40", INT64_C(1795305580000)},
        {"2026-11-21T23:59:40.123Z", INT64_C(1795305580123)},
        {"2024-02-29T00:00Z", INT64_C(1709164800000)},
        {"2h", INT64_C(1800000000000) - 7200000},
        {"3650d", INT64_C(1800000000000) - INT64_C(3650) * 86400000},
    };
    static const char *const bad[] = {"", "yesterday", "2026-02-29", "2026-13-01", "2026-00-10",
                                      "2026-11-21T24:00", "2026-11-21T23:60", "2026-11-21T",
                                      "2026-11-21T23", "2026-11-21T23:59:40.", "2026-11-21x",
                                      "2026-1-1", "2026-11-21T23:59Zx", "1969-12-31", "-2h"};
    char again[32];
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        int64_t ms = 0;
        assert_int_equal(text_parse_time_ms(good[i].text, INT64_C(1800000000000), &ms, NULL), 0);
        assert_int_equal(ms, good[i].ms);
        int64_t back = 0;
        assert_int_equal(text_parse_time_ms(text_format_time_ms(ms, again), 0, &back, NULL), 0);
        assert_int_equal(back, ms);
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        int64_t ms = 7;
        assert_int_equal(text_parse_time_ms(bad[i], INT64_C(1800000000000), &ms, NULL), -EINVAL);
        assert_int_equal(ms, 7);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(time_is_a_date_or_so_long_ago),
        cmocka_unit_test(duration_reads_what_people_write),
        cmocka_unit_test(duration_refuses_the_rest),
        cmocka_unit_test(size_has_binary_and_decimal_units),
        cmocka_unit_test(utf8_is_checked),
        cmocka_unit_test(escape_shows_control_characters),
        cmocka_unit_test(buffer_stops_at_its_cap),
        cmocka_unit_test(int_has_a_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
