#include "meter/meter.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define HOUR INT64_C(3600000)

static const struct meter_rates rates = {0.5, 0.25, "EUR"};

struct seen {
    unsigned count;
    struct meter_usage usage[4];
};

static void collect(const struct meter_usage *usage, void *arg)
{
    struct seen *s = arg;

    assert_true(s->count < 4);
    s->usage[s->count++] = *usage;
}

static void hours_and_prices_add_up(void **state)
{
    CLEANUP(meter_freep) struct meter *m = meter_new(&rates);
    struct meter_load two = {2, 20 * 1024}, one = {1, 10 * 1024};
    struct seen s = {0};
    (void)state;
    meter_begin(m, 1, "vision", &two, 0);
    meter_begin(m, 2, "vision", &one, HOUR);
    meter_begin(m, 2, "vision", &two, 0); /* known already */
    meter_begin(m, 3, "nlp", &one, HOUR);
    assert_string_equal(meter_end(m, 1, 3 * HOUR), "vision");
    assert_null(meter_end(m, 1, 4 * HOUR));
    meter_each(m, 2 * HOUR, collect, &s);
    assert_int_equal(s.count, 2);
    assert_string_equal(s.usage[0].tenant, "nlp");
    assert_string_equal(s.usage[1].tenant, "vision");
    assert_int_equal(s.usage[1].leases, 2);
    assert_int_equal(s.usage[1].active_leases, 1);
    assert_int_equal(s.usage[1].active.compute_slots, 1);
    assert_true(s.usage[1].compute_slot_hours == 7.0);
    assert_true(s.usage[1].memory_gib_hours == 70.0);
    assert_true(s.usage[1].cost == 7.0 * 0.5 + 70.0 * 0.25);
}

static void accounts_survive(void **state)
{
    CLEANUP(meter_freep) struct meter *m = meter_new(&rates), *again = meter_new(&rates);
    struct meter_load two = {2, 1024};
    struct seen s = {0};
    struct error err = {0};
    (void)state;
    meter_begin(m, 1, "vision", &two, 0);
    meter_begin(m, 2, "vision", &two, 0);
    meter_end(m, 1, HOUR);
    CLEANUP(freep) char *body = meter_record(m, "vision");
    assert_int_equal(meter_load_record(again, "vision", body, strlen(body), &err), 0);
    meter_begin(again, 2, "vision", &two, 0); /* it runs on after the restart */
    meter_each(again, HOUR, collect, &s);
    assert_int_equal(s.usage[0].leases, 2);
    assert_true(s.usage[0].compute_slot_hours == 4.0);
    assert_null(meter_record(m, "nobody"));
}

static void damage_and_clocks_do_no_harm(void **state)
{
    CLEANUP(meter_freep) struct meter *m = meter_new(&rates);
    struct meter_load one = {1, 1};
    struct seen s = {0};
    struct error err = {0};
    static const char *const bad[] = {"", "[]", "{}", "{\"leases\":-1,\"compute_slot_ms\":0,"
                                                      "\"memory_mib_ms\":0}"};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(meter_load_record(m, "x", bad[i], strlen(bad[i]), &err), -EINVAL);
    }
    meter_begin(m, 1, "x", &one, HOUR);
    meter_end(m, 1, 0);
    meter_each(m, 0, collect, &s);
    assert_true(s.usage[0].compute_slot_hours == 0.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hours_and_prices_add_up),
        cmocka_unit_test(accounts_survive),
        cmocka_unit_test(damage_and_clocks_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
