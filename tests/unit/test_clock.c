#include "base/clock.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define H ((int64_t)3600 * 1000)

static void what_was_set_is_told_from_what_has_passed(void **state)
{
    static const struct {
        struct clock_mark then, now;
        int64_t latest_ms, jump_ms;
    } cases[] = {
        /* One boot: three hours have passed, and the clock shows three, none, or 100 more. */
        {{"a", 1000 * H, H}, {"a", 1003 * H, 4 * H}, 0, 0},
        {{"a", 1000 * H, H}, {"a", 1000 * H, 4 * H}, 0, -3 * H},
        {{"a", 1000 * H, H}, {"a", 1103 * H, 4 * H}, 1002 * H, 100 * H},
        {{"a", 1000 * H, H}, {"a", 1003 * H + 1999, 4 * H}, 0, 0},
        {{"a", 1000 * H, H}, {"a", 1003 * H - 2000, 4 * H}, 0, -2000},
        /* The machine was restarted: only that it shows less than before can be told. */
        {{"a", 1000 * H, 90 * H}, {"b", 1003 * H, H}, 1002 * H, 0},
        {{"a", 1000 * H, 90 * H}, {"b", 1003 * H, H}, 1005 * H, -2 * H},
        {{"a", 1000 * H, 90 * H}, {"b", 990 * H, H}, 0, -10 * H},
        /* No mark: an older journal, or a damaged one. */
        {{"", 0, 0}, {"b", 1000 * H, H}, 0, 0},
        {{"", 0, 0}, {"", 1000 * H, H}, 1001 * H, -H},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int64_t jump = clock_jump_ms(&cases[i].then, &cases[i].now, cases[i].latest_ms);
        if (jump != cases[i].jump_ms) {
            fail_msg("case %zu: %lld, not %lld", i, (long long)jump, (long long)cases[i].jump_ms);
        }
    }
}

static void a_mark_is_of_this_boot(void **state)
{
    struct clock_mark a = {0}, b = {0};

    (void)state;
    clock_mark_now(&a);
    clock_mark_now(&b);
    assert_string_equal(a.boot_id, b.boot_id);
    assert_true(b.boot_ms >= a.boot_ms && a.boot_ms > 0 && a.real_ms > a.boot_ms);
    assert_int_equal(clock_jump_ms(&a, &b, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_set_is_told_from_what_has_passed),
        cmocka_unit_test(a_mark_is_of_this_boot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
