#include "base/buf.h"
#include "base/tree.h"
#include "daemon/config.h"
#include "plan/plan.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define SOURCE_DIR TANGRAM_SOURCE_DIR

static int parse(struct daemon_config *c, const char *text, struct error *err)
{
    return config_parse(c, text, strlen(text), "t.yaml", err);
}

static void defaults_are_those_of_the_pool(void **state)
{
    CLEANUP(config_done) struct daemon_config c = {0};
    struct pool_settings settings;
    (void)state;
    pool_settings_default(&settings);
    config_init(&c);
    assert_int_equal(c.pool.max_queued_per_tenant, settings.max_queued_per_tenant);
    assert_int_equal(c.pool.backfill_depth, settings.backfill_depth);
    assert_int_equal(c.pool.keep_ended, settings.keep_ended);
    assert_int_equal(c.pool.age_step_ms, settings.age_step_ms);
    assert_int_equal(c.pool.plan.policy, settings.plan.policy);
    assert_int_equal(c.pool.plan.objective, settings.plan.objective);
    assert_string_equal(c.driver, "libnvidia-ml.so.1");
    assert_int_equal(c.socket_mode, 0666);
    assert_int_equal(c.log_level, LOG_LEVEL_INFO);
    assert_null(c.listen);
    assert_null(c.simulate);
    assert_non_null(c.socket_path);
    assert_non_null(c.state_dir);
    assert_int_equal(c.call_timeout_ms, 30000);
}

static void policies_are_in_the_planners_order(void **state)
{
    (void)state;
    for (enum plan_policy p = 0; p < PLAN_POLICY_COUNT; p++) {
        CLEANUP(config_done) struct daemon_config c = {0};
        struct error err = {0};
        char text[80];
        snprintf(text, sizeof(text), "plan: {policy: %s}\n", plan_policy_name(p));
        assert_int_equal(parse(&c, text, &err), 0);
        assert_int_equal(c.pool.plan.policy, p);
    }
    for (enum plan_objective o = 0; o < PLAN_OBJECTIVE_COUNT; o++) {
        CLEANUP(config_done) struct daemon_config c = {0};
        struct error err = {0};
        char text[80];
        snprintf(text, sizeof(text), "plan: {objective: %s}\n", plan_objective_name(o));
        assert_int_equal(parse(&c, text, &err), 0);
        assert_int_equal(c.pool.plan.objective, o);
    }
}

static void everything_is_read(void **state)
{
    static const char text[] =
        "socket: {path: /tmp/t.sock, mode: 0660, group: gpu}\n"
        "listen: 127.0.0.1:7070\n"
        "state_dir: /tmp/state\n"
        "driver: /opt/lib.so\n"
        "simulate: A30:2\n"
        "log_level: debug\n"
        "gpus:\n"
        "  - match: {pci: \"3b:00.0\"}\n"
        "    managed: false\n"
        "  - match: {model: h100}\n"
        "    mig_mode: on-demand\n"
        "tenants:\n"
        "  - {name: vision, users: [alice, 1004], groups: [v], max_compute: 7}\n"
        "  - {name: admins, groups: [sudo], role: operator}\n"
        "limits: {max_queued_per_tenant: 3, max_compute_per_tenant: 14, default_ttl: 1h, max_ttl: "
        "7d, connections: 100}\n"
        "queue: {backfill_depth: 0, age_step: 90s}\n"
        "timing: {call_timeout: 5s, scan_interval: 2m}\n"
        "history: {keep_events: 500, keep_leases: 5, keep_usage_days: 7}\n"
        "sampling: {interval: 250ms, advice_after: 1m, idle_after: 1h}\n";
    CLEANUP(config_done) struct daemon_config c = {0};
    struct error err = {0};
    (void)state;
    assert_int_equal(parse(&c, text, &err), 0);
    assert_string_equal(c.socket_path, "/tmp/t.sock");
    assert_int_equal(c.socket_mode, 0660);
    assert_string_equal(c.socket_group, "gpu");
    assert_string_equal(c.listen, "127.0.0.1:7070");
    assert_string_equal(c.state_dir, "/tmp/state");
    assert_string_equal(c.driver, "/opt/lib.so");
    assert_string_equal(c.simulate, "A30:2");
    assert_int_equal(c.log_level, LOG_LEVEL_DEBUG);
    assert_int_equal(c.tenant_count, 2);
    assert_string_equal(c.tenants[0].users[1], "1004");
    assert_null(c.tenants[0].users[2]);
    assert_int_equal(c.tenants[0].role, POOL_ROLE_TENANT);
    assert_int_equal(c.tenants[0].max_compute, 7);
    assert_int_equal(c.tenants[0].max_queued, -1);
    assert_int_equal(c.tenants[1].role, POOL_ROLE_OPERATOR);
    assert_int_equal(c.pool.max_queued_per_tenant, 3);
    assert_int_equal(c.pool.default_ttl_ms, 3600000);
    assert_int_equal(c.pool.max_ttl_ms, 7 * 86400000LL);
    assert_int_equal(c.connections_max, 100);
    assert_int_equal(c.pool.backfill_depth, 0);
    assert_int_equal(c.pool.age_step_ms, 90000);
    assert_int_equal(c.scan_interval_ms, 120000);
    assert_int_equal(c.keep_usage_days, 7);
    assert_int_equal(c.sample_interval_ms, 250);
    assert_int_equal(c.advice_after_ms, 60000);
    assert_int_equal(c.idle_after_ms, 3600000);
    assert_int_equal(c.keep_events, 500);
    assert_int_equal(c.pool.keep_ended, 5);
}

static void the_first_rule_counts(void **state)
{
    static const char text[] = "gpus:\n"
                               "  - {match: {pci: \"0000:3B:00.0\"}, managed: false}\n"
                               "  - {match: {uuid: GPU-aa}, mig_mode: on-demand}\n"
                               "  - {match: {index: 7}, managed: false, mig_mode: on-demand}\n"
                               "  - {match: {model: a30}, managed: false}\n"
                               "  - {mig_mode: on-demand}\n";
    static const struct {
        struct mig_gpu_info info;
        bool is_managed, is_on_demand;
    } cases[] = {
        {{.pci = "00000000:3b:00.0", .uuid = "GPU-aa"}, false, false},
        {{.pci = "00000001:3B:00.0", .uuid = "GPU-aa"}, true, true},
        {{.index = 7, .name = "NVIDIA A30"}, false, true},
        {{.index = 1, .name = "NVIDIA A30"}, false, false},
        {{.index = 1, .name = "NVIDIA H100 80GB HBM3"}, true, true},
    };
    CLEANUP(config_done) struct daemon_config c = {0};
    struct error err = {0};
    (void)state;
    assert_int_equal(parse(&c, text, &err), 0);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct config_gpu got = config_gpu_rule_for(&c, &cases[i].info);
        assert_int_equal(got.is_managed, cases[i].is_managed);
        assert_int_equal(got.mig_policy == POOL_MIG_ON_DEMAND, cases[i].is_on_demand);
    }
    config_done(&c);
    config_init(&c);
    assert_true(config_gpu_rule_for(&c, &cases[0].info).is_managed);
}

static void what_is_wrong_is_said_with_its_place(void **state)
{
    static const struct {
        const char *text, *why;
    } bad[] = {
        {"sockets: {}\n", "t.yaml:1:1: sockets: there is no such field; known are: socket,"},
        {"socket:\n  path: 5\n", "t.yaml:2:9: socket.path: must be text of 1 to 107 bytes"},
        {"socket:\n  mode: \"0999\"\n", "t.yaml:2:9: mode: must be an octal number"},
        {"limits:\n  max_ttl: 1\n",
         "t.yaml:2:12: limits.max_ttl: must be a duration from 1s to 3650d"},
        {"limits: {default_ttl: 2h, max_ttl: 1h}\n", "t.yaml:1:23: default_ttl: must not be"},
        {"sampling: {interval: 50ms}\n", "t.yaml:1:22: interval: must be 0 or at least 100ms"},
        {"limits: {connections: -1}\n", "a whole number from 16 to 65536, not -1"},
        {"gpus:\n  - match: {index: 1, model: x}\n", "t.yaml:2:12: match: must have exactly one"},
        {"gpus:\n  - managed: yes\n", "managed: must be true or false, not \"yes\""},
        {"gpus:\n  - managed: true\n  - managed: false\n", "t.yaml:3:5: gpus: this rule never"},
        {"gpus: {}\n", "gpus: must be a list of at most 256, each an object of match, managed, "
                       "mig_mode, not an object"},
        {"gpus:\n  - match: A30\n",
         "t.yaml:2:12: gpus[0].match: must be an object of uuid, pci, index, model, not \"A30\""},
        {"gpus:\n  - managed: true\n    mach: {index: 3}\n",
         "t.yaml:3:5: gpus[0].mach: there is no such"},
        {"gpus:\n  - mig_mode: force\n", "mig_mode: must be \"keep\" or \"on-demand\""},
        {"tenants:\n  - users: [a]\n", "t.yaml:2:5: tenants[0].name: is missing"},
        {"tenants:\n  - {name: a}\n  - {name: a}\n", "t.yaml:3:12: name: another tenant"},
        {"tenants:\n  - {name: a, users: [x]}\n  - {name: b, users: [x]}\n",
         "t.yaml:3:23: users: this user"},
        {"plan: {policy: best}\n", "policy: must be \"reach\", \"align\""},
        {"[]\n", "must be an object, not a list"},
        {"log_level: info\nlog_level: warn\n", "t.yaml:2:1: this key stands twice"},
        {"a: [\n", "t.yaml:2:1"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        CLEANUP(config_done) struct daemon_config c = {0};
        struct error err = {0};
        config_init(&c);
        assert_true(parse(&c, bad[i].text, &err) < 0);
        if (!strstr(err.msg, bad[i].why)) {
            fail_msg("'%s' lacks '%s'", err.msg, bad[i].why);
        }
        assert_string_equal(c.driver, "libnvidia-ml.so.1"); /* untouched */
    }
}

static void a_missing_file_may_be_optional(void **state)
{
    CLEANUP(config_done) struct daemon_config c = {0};
    struct error err = {0};
    (void)state;
    config_init(&c);
    assert_int_equal(config_load(&c, "/nonexistent/t.yaml", true, &err), 0);
    assert_int_equal(config_load(&c, "/nonexistent/t.yaml", false, &err), -ENOENT);
    assert_non_null(strstr(err.msg, "/nonexistent/t.yaml"));
}

/* Takes one "#" off each line: what an administrator does who wants everything spelt out. */
static char *uncomment(const char *text)
{
    struct buf b = BUF_INIT(1024 * 1024);

    for (const char *line = text; *line;) {
        size_t n = strcspn(line, "\n");
        size_t skip = *line == '#';
        buf_add(&b, line + skip, n - skip);
        buf_add(&b, "\n", 1);
        line += n + (line[n] == '\n');
    }
    return buf_take(&b);
}

static void the_example_file_is_the_reference(void **state)
{
    CLEANUP(freep) char *reference = NULL, *file = NULL;
    size_t size = 0, len = 0;
    struct error err = {0};
    (void)state;
    FILE *out = open_memstream(&reference, &size);
    config_print_reference(out);
    fclose(out);
    assert_int_equal(tree_read_file(SOURCE_DIR "/packaging/tangram.yaml", 1 << 20, &file, &len,
                                    &err), 0);
    assert_string_equal(file, reference);
}

static void the_example_file_holds_the_defaults(void **state)
{
    CLEANUP(config_done) struct daemon_config c = {0}, plain = {0};
    CLEANUP(freep) char *file = NULL, *text = NULL;
    size_t len = 0;
    struct error err = {0};
    (void)state;
    config_init(&plain);
    assert_int_equal(config_load(&c, SOURCE_DIR "/packaging/tangram.yaml", false, &err), 0);
    assert_int_equal(tree_read_file(SOURCE_DIR "/packaging/tangram.yaml", 1 << 20, &file, &len,
                                    &err), 0);
    text = uncomment(file);
    if (parse(&c, text, &err) < 0) {
        fail_msg("%s\n%s", err.msg, text);
    }
    assert_string_equal(c.socket_path, plain.socket_path);
    assert_int_equal(c.pool.age_step_ms, plain.pool.age_step_ms);
    assert_int_equal(c.keep_events, plain.keep_events);
    assert_int_equal(c.socket_mode, plain.socket_mode);
    assert_int_equal(c.pool.default_ttl_ms, plain.pool.default_ttl_ms);
    assert_int_equal(c.scan_interval_ms, plain.scan_interval_ms);
    assert_int_equal(c.sample_interval_ms, plain.sample_interval_ms);
    assert_int_equal(c.keep_usage_days, plain.keep_usage_days);
    assert_int_equal(c.gpu_count, 2); /* the examples */
    assert_int_equal(c.tenant_count, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_those_of_the_pool),
        cmocka_unit_test(policies_are_in_the_planners_order),
        cmocka_unit_test(everything_is_read),
        cmocka_unit_test(the_first_rule_counts),
        cmocka_unit_test(what_is_wrong_is_said_with_its_place),
        cmocka_unit_test(a_missing_file_may_be_optional),
        cmocka_unit_test(the_example_file_is_the_reference),
        cmocka_unit_test(the_example_file_holds_the_defaults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
