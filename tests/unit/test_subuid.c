/* What is read from /etc/subuid. */
#include "base/cleanup.h"
#include "daemon/subuid.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char path[] = "/tmp/tangram-subuid-XXXXXX";

static int setup(void **state)
{
    (void)state;
    int fd = mkostemp(path, O_CLOEXEC);
    assert_true(fd >= 0);
    close(fd);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return unlink(path);
}

static void write_text(const char *text)
{
    FILE *f = fopen(path, "we");

    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static const char *owner(const struct subuid *s, uid_t uid)
{
    const struct subuid_range *range = subuid_find(s, uid);

    return range ? range->owner : "nobody";
}

static void ranges_have_owners(void **state)
{
    struct subuid s = {0};
    (void)state;
    write_text("alice:100000:65536\nbob:165536:65536\n1003:300000:1\n");
    subuid_refresh(&s, path);
    assert_string_equal(owner(&s, 99999), "nobody");
    assert_string_equal(owner(&s, 100000), "alice");
    assert_string_equal(owner(&s, 165535), "alice");
    assert_string_equal(owner(&s, 165536), "bob");
    assert_int_equal(subuid_find(&s, 170000)->first, 165536);
    assert_string_equal(owner(&s, 300000), "1003");
    assert_string_equal(owner(&s, 300001), "nobody");
    subuid_done(&s);
}

/* Containers that root has started: whose they are is not known. */
static void those_of_root_are_left_out(void **state)
{
    struct subuid s = {0};
    (void)state;
    write_text("root:1000000:1000000\n0:5000000:10\nrooter:6000000:10\n");
    subuid_refresh(&s, path);
    assert_int_equal(s.count, 1);
    assert_string_equal(owner(&s, 6000009), "rooter");
    subuid_done(&s);
}

static void nonsense_is_passed_over(void **state)
{
    struct subuid s = {0};
    (void)state;
    write_text("\n:\n::\n:1:2\nalice\nalice:\nalice:1\nalice:x:5\nalice:5:x\nalice:-5:5\n"
               "alice:5:0\nalice:0:9\nalice:4294967290:100\nalice:1:2:3\n# alice:7:7\nbob:10:5");
    subuid_refresh(&s, path);
    assert_string_equal(owner(&s, 10), "bob");
    assert_string_equal(owner(&s, 1), "nobody");
    assert_string_equal(owner(&s, 0), "nobody");
    assert_string_equal(owner(&s, UINT32_MAX), "nobody");
    subuid_done(&s);
}

static void a_file_that_changes_is_read_again(void **state)
{
    struct subuid s = {0};
    (void)state;
    subuid_refresh(&s, "/nonexistent/subuid");
    assert_int_equal(s.count, 0);
    write_text("alice:100000:10\n");
    subuid_refresh(&s, path);
    assert_string_equal(owner(&s, 100000), "alice");
    write_text("alice:100000:10\nbob:200000:10\n");
    subuid_refresh(&s, path);
    assert_string_equal(owner(&s, 200000), "bob");
    subuid_refresh(&s, "/nonexistent/subuid");
    assert_int_equal(s.count, 0);
    subuid_refresh(&s, "/");
    assert_int_equal(s.count, 0);
    subuid_done(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_have_owners),
        cmocka_unit_test(those_of_root_are_left_out),
        cmocka_unit_test(nonsense_is_passed_over),
        cmocka_unit_test(a_file_that_changes_is_read_again),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
