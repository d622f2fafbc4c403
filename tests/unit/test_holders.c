/* Who has an instance's device node open: a made-up driver's files that name the node of /dev/null,
 * and a process of our own that has it open. */
#include "driver/holders.h"
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#define FULL "/dev/full" /* rarely open in anybody */

static char proc[64];

static void put(const char *name, const char *text)
{
    char path[256];

    snprintf(path, sizeof(path), "%s/%s", proc, name);
    for (char *p = path + strlen(proc) + 1; (p = strchr(p, '/')); p++) {
        *p = '\0';
        mkdir(path, 0755);
        *p = '/';
    }
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static int set_up(void **state)
{
    (void)state;
    snprintf(proc, sizeof(proc), "/tmp/tangram-holders-XXXXXX");
    assert_non_null(mkdtemp(proc));
    put("devices", "Character devices:\n  1 nvidia-caps\n195 nvidia\n");
    put("driver/nvidia/capabilities/gpu0/mig/gi3/access", "DeviceFileMinor: 200\n");
    put("driver/nvidia/capabilities/gpu0/mig/gi3/ci1/access",
        "DeviceFileMinor: 7\nDeviceFileMode: 292\n");
    return 0;
}

static int tear_down(void **state)
{
    char command[128];

    (void)state;
    snprintf(command, sizeof(command), "rm -r %s", proc);
    return system(command); /* NOLINT(cert-env33-c,concurrency-mt-unsafe) */
}

static void test_finds_who_has_it_open(void **state)
{
    uint32_t pids[16];
    int ready[2];
    char byte = 0;

    (void)state;
    uint32_t before = holders_find(proc, 0, 3, pids, 16);
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        _exit(open(FULL, O_RDONLY) < 0 || write(ready[1], "x", 1) != 1 || pause());
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    uint32_t count = holders_find(proc, 0, 3, pids, 16);
    assert_int_equal(count, before + 1);
    bool is_named = false;
    for (uint32_t i = 0; i < count; i++) {
        is_named = is_named || pids[i] == (uint32_t)pid;
    }
    assert_true(is_named);
    struct driver_slice slice = {.pid_count = 6, .pids = {(uint32_t)pid, 1}};
    char text[160], want[32];
    driver_name_pids(&slice, text, sizeof(text));
    snprintf(want, sizeof(want), "pid %d (test_holders), ", (int)pid);
    assert_memory_equal(text, want, strlen(want));
    assert_non_null(strstr(text, " and 2 more"));
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    assert_int_equal(holders_find(proc, 0, 3, pids, 16), before);
    close(ready[0]);
    close(ready[1]);
}

static void test_says_nothing_without_the_drivers_files(void **state)
{
    uint32_t pids[16];

    (void)state;
    assert_int_equal(holders_find("/nonexistent", 0, 3, pids, 16), 0);
    assert_int_equal(holders_find(proc, 1, 3, pids, 16), 0);
    assert_int_equal(holders_find(proc, 0, 4, pids, 16), 0);
    assert_int_equal(holders_find(proc, 0, 3, pids, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_finds_who_has_it_open),
        cmocka_unit_test(test_says_nothing_without_the_drivers_files),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
