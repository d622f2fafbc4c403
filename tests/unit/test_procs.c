/* What `doctor` finds in a /proc that the test makes. */
#include "base/cleanup.h"
#include "cli/procs.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[] = "/tmp/tangram-procs-XXXXXX";

static void write_file(const char *path, const char *data, size_t len)
{
    FILE *f = fopen(path, "we");

    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, len, f), len);
    fclose(f);
}

static void add_process(int pid, const char *comm, const char *cmdline, size_t len)
{
    CLEANUP(freep) char *dir = xasprintf("%s/%d", root, pid);
    CLEANUP(freep) char *fd = xasprintf("%s/fd", dir);
    CLEANUP(freep) char *name = xasprintf("%s/comm", dir);
    CLEANUP(freep) char *line = xasprintf("%s/cmdline", dir);
    CLEANUP(freep) char *text = xasprintf("%s\n", comm);

    assert_int_equal(mkdir(dir, 0700), 0);
    assert_int_equal(mkdir(fd, 0700), 0);
    write_file(name, text, strlen(text));
    write_file(line, cmdline, len);
}

static void open_device(int pid, int fd, const char *device)
{
    CLEANUP(freep) char *path = xasprintf("%s/%d/fd/%d", root, pid, fd);

    assert_int_equal(symlink(device, path), 0);
}

static int set_up(void **state)
{
    static const char words[] = "tangramd\0--socket\0/run/x.sock\0--state\0/s";
    (void)state;
    if (!mkdtemp(root)) {
        return -1;
    }
    add_process(7, "nvidia-persiste", "", 0);
    open_device(7, 3, "/dev/nvidia1");
    open_device(7, 4, "/dev/nvidia1");
    open_device(7, 5, "/dev/nvidiactl");
    open_device(7, 6, "/dev/nvidia0");
    add_process(8, "bash", "", 0);
    open_device(8, 0, "/dev/null");
    open_device(8, 1, "/dev/nvidia-uvm");
    open_device(8, 2, "/home/me/dev/nvidia0");
    add_process(9, "tangramd", words, sizeof(words));
    open_device(9, 3, "/dev/nvidia0");
    return 0;
}

static int tear_down(void **state)
{
    CLEANUP(freep) char *command = xasprintf("rm -rf %s", root);

    (void)state;
    return system(command); /* NOLINT(cert-env33-c): a folder of our own */
}

static void holders_are_those_of_gpus(void **state)
{
    struct proc_holder list[8];
    size_t count = procs_find_holders(root, list, 8);
    unsigned seen = 0;

    (void)state;
    assert_int_equal(count, 2);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(list[i].pid, 7);
        assert_string_equal(list[i].name, "nvidia-persiste");
        seen |= !strcmp(list[i].device, "nvidia0") ? 1 : !strcmp(list[i].device, "nvidia1") ? 2 : 4;
    }
    assert_int_equal(seen, 3);
    assert_int_equal(procs_find_holders(root, list, 1), 1);
    assert_int_equal(procs_find_holders("/nonexistent", list, 8), 0);
}

static void the_daemon_is_found_with_its_socket(void **state)
{
    char socket[64] = "x";

    (void)state;
    assert_int_equal(procs_find_daemon(root, socket, sizeof(socket)), 9);
    assert_string_equal(socket, "/run/x.sock");
    assert_int_equal(procs_find_daemon("/nonexistent", socket, sizeof(socket)), 0);
    assert_string_equal(socket, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(holders_are_those_of_gpus),
        cmocka_unit_test(the_daemon_is_found_with_its_socket),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
