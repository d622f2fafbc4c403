#include "base/text.h"
#include "driver/driver.h"
#include "driver/nvml.h"
#include "mig/mig.h"
#include <ftw.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

/* The driver room on the simulated driver, as the daemon uses it. */

struct machine {
    char dir[64];
    struct driver *driver;
};

static struct machine machine;
/* Events of GPU 0 may come between results; they are kept for next_event(). */
static struct driver_event kept[64];
static uint32_t kept_count;

static void tool(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void tool(const char *fmt, ...)
{
    char args[400], command[600];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(args, sizeof(args), fmt, ap);
    va_end(ap);
    snprintf(command, sizeof(command), "%s %s >/dev/null", SIM_TOOL, args);
    if (system(command) != 0) {
        fail_msg("%s", command);
    }
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void machine_new(const char *gpus, const char *latency)
{
    struct driver_settings settings = {.path = SIM_LIBRARY, .event_wait_ms = 20};
    struct error err = {0};
    snprintf(machine.dir, sizeof(machine.dir), "/tmp/tangram-driver-XXXXXX");
    assert_non_null(mkdtemp(machine.dir));
    tool("create %s/m %s --latency %s", machine.dir, gpus, latency);
    char path[80];
    snprintf(path, sizeof(path), "%s/m", machine.dir);
    setenv("TANGRAM_SIM", path, 1);
    if (driver_open(&settings, &machine.driver, &err) < 0) {
        fail_msg("%s", err.msg);
    }
}

static int machine_free(void **state)
{
    (void)state;
    driver_close(machine.driver);
    machine.driver = NULL;
    kept_count = 0;
    nftw(machine.dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return 0;
}

static struct driver_result take(void)
{
    struct driver_result result = {0};
    struct pollfd wait = {.fd = driver_fd(machine.driver), .events = POLLIN};
    assert_int_equal(poll(&wait, 1, 20000), 1);
    assert_true(driver_next_result(machine.driver, &result));
    return result;
}

static struct driver_result next(void)
{
    for (;;) {
        struct driver_result result = take();
        if (result.kind != DRIVER_EVENT) {
            return result;
        }
        if (result.gpu == 0 && kept_count < ARRAY_SIZE(kept)) {
            kept[kept_count++] = result.event;
        }
    }
}

static struct driver_event next_event(enum driver_event_kind kind)
{
    for (uint32_t i = 0; i < kept_count; i++) {
        if (kept[i].kind == kind) {
            return kept[i];
        }
    }
    for (;;) {
        struct driver_result result = take();
        assert_int_equal(result.kind, DRIVER_EVENT);
        if (result.gpu == 0 && result.event.kind == kind) {
            return result.event;
        }
    }
}

static struct driver_result run(uint32_t gpu, struct driver_job job)
{
    assert_int_equal(driver_submit(machine.driver, gpu, &job, NULL), 0);
    struct driver_result result = next();
    assert_int_equal(result.gpu, gpu);
    return result;
}

static struct driver_result good(uint32_t gpu, struct driver_job job)
{
    struct driver_result result = run(gpu, job);
    if (result.code != 0) {
        fail_msg("%s: %d (%u) %s", driver_kind_name(job.kind), result.code, result.nvml,
                 result.message);
    }
    return result;
}

static void switch_on(uint32_t gpu)
{
    good(gpu, (struct driver_job){.kind = DRIVER_SET_MODE, .is_enable = true});
    good(gpu, (struct driver_job){.kind = DRIVER_DISCOVER});
    assert_true(driver_gpu_info(machine.driver, gpu)->is_mig_enabled);
    assert_true(driver_gpu_info(machine.driver, gpu)->has_geometry);
}

static struct driver_job create_job(uint32_t gpu, const char *name, uint8_t start)
{
    const struct mig_geometry *geometry = driver_gpu_geometry(machine.driver, gpu);
    int profile = mig_profile_by_name(geometry, name);
    assert_true(profile >= 0);
    return (struct driver_job){.kind = DRIVER_CREATE,
                               .profile_id = geometry->profiles[profile].id,
                               .start = start,
                               .size = geometry->profiles[profile].size};
}

static struct driver_job on(enum driver_kind kind, const struct mig_instance *instance)
{
    struct driver_job job = {.kind = kind,
                             .profile_id = instance->profile_id,
                             .start = instance->start,
                             .size = instance->size};
    text_copy(job.mig_uuid, sizeof(job.mig_uuid), instance->ci[0].mig_uuid);
    return job;
}

/* A process that uses the device as a CUDA program would. */
static pid_t start_load(const char *uuid)
{
    pid_t pid = fork();
    if (pid == 0) {
        dup2(STDERR_FILENO, STDOUT_FILENO);
        execl(SIM_TOOL, SIM_TOOL, "load", "--device", uuid, "--memory", "2GiB", "--sm", "50", NULL);
        _exit(127);
    }
    return pid;
}

/* Every placement of every profile of one GPU is made, seen and taken down. */
static void sweep(uint32_t gpu)
{
    const struct mig_geometry *geometry = driver_gpu_geometry(machine.driver, gpu);
    for (int p = 0; p < geometry->profile_count; p++) {
        const struct mig_profile *profile = &geometry->profiles[p];
        for (int k = 0; k < profile->start_count; k++) {
            struct driver_result made =
                good(gpu, create_job(gpu, profile->name, profile->starts[k]));
            const struct mig_instance *instance = &made.slice.instance;
            assert_int_equal(instance->ci_count, 1);
            assert_memory_equal(instance->ci[0].mig_uuid, "MIG-", 4);
            struct driver_result scan = good(gpu, (struct driver_job){.kind = DRIVER_SCAN});
            assert_int_equal(scan.scan.instance_count, 1);
            assert_string_equal(scan.scan.instances[0].ci[0].mig_uuid, instance->ci[0].mig_uuid);
            good(gpu, on(DRIVER_DESTROY, instance));
        }
    }
}

static void every_model_is_discovered(void **state)
{
    FILE *models = popen(SIM_TOOL " models", "r");
    char line[400], name[64], gpus[80], profiles[300];
    (void)state;
    assert_non_null(models);
    int count = 0;
    while (fgets(line, sizeof(line), models)) {
        if (sscanf(line, "%63s %*s %299[^\n]", name, profiles) != 2 || !strcmp(name, "MODEL")) {
            if (count > 0) {
                break; /* the list of those that cannot be simulated follows */
            }
            continue;
        }
        snprintf(gpus, sizeof(gpus), "--gpu %s", name);
        machine_new(gpus, "none");
        const struct mig_gpu_info *info = driver_gpu_info(machine.driver, 0);
        bool has_mig = profiles[0] != '(';
        assert_true(info->is_healthy && info->is_mig_capable == has_mig && !info->is_mig_enabled);
        count++;
        if (!has_mig) {
            machine_free(NULL);
            continue;
        }
        assert_int_equal(info->has_geometry, info->architecture != MIG_ARCH_AMPERE);
        switch_on(0);
        const struct mig_geometry *geometry = driver_gpu_geometry(machine.driver, 0);
        int words = 0;
        for (char *at = NULL, *word = strtok_r(profiles, " ", &at); word;
             word = strtok_r(NULL, " ", &at)) {
            assert_true(mig_profile_by_name(geometry, word) >= 0);
            words++;
        }
        assert_int_equal(geometry->profile_count, words);
        if (!strcmp(name, "A30") || !strcmp(name, "RTX-PRO-6000-BSE")) {
            sweep(0);
        }
        machine_free(NULL);
    }
    pclose(models);
    assert_true(count > 15);
}

static void slices_outlive_the_session(void **state)
{
    struct driver_settings settings = {.path = SIM_LIBRARY};
    struct driver_job scan = {.kind = DRIVER_SCAN};
    (void)state;
    machine_new("--gpu H100-SXM5-80GB:2", "none");
    switch_on(1);
    struct driver_result made = good(1, create_job(1, "3g.40gb", 4));
    struct driver_job part = create_job(1, "2g.20gb", 0);
    part.ci_slices = 1;
    struct driver_result parts = good(1, part);
    assert_int_equal(parts.slice.instance.ci[0].size, 1);
    struct driver_job more = on(DRIVER_CREATE_CI, &parts.slice.instance);
    more.ci_slices = 1;
    assert_int_equal(good(1, more).slice.instance.ci_count, 2);
    assert_int_equal(run(1, more).code, -ENOSPC);
    assert_int_equal(run(1, create_job(1, "2g.20gb", 4)).code, -ENOSPC);
    driver_close(machine.driver);
    assert_int_equal(driver_open(&settings, &machine.driver, NULL), 0);
    struct driver_result seen = good(1, scan);
    assert_int_equal(seen.scan.instance_count, 2);
    assert_int_equal(seen.scan.instances[0].ci_count, 2);
    assert_string_equal(seen.scan.instances[1].ci[0].mig_uuid, made.slice.instance.ci[0].mig_uuid);
    good(1, on(DRIVER_DESTROY, &seen.scan.instances[0]));
    good(1, on(DRIVER_DESTROY, &seen.scan.instances[1]));
    assert_int_equal(good(1, scan).scan.instance_count, 0);
}

static void a_loaded_slice_stays(void **state)
{
    (void)state;
    machine_new("--gpu H100-SXM5-80GB", "typical"); /* IN_USE has its tail */
    switch_on(0);
    struct driver_result made = good(0, create_job(0, "2g.20gb", 2));
    struct driver_result beside = good(0, create_job(0, "1g.10gb", 0));
    const char *uuid = made.slice.instance.ci[0].mig_uuid;
    pid_t pid = start_load(uuid);
    struct driver_job check = on(DRIVER_CHECK, &made.slice.instance);
    while (good(0, check).slice.pid_count == 0) {
        assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
    }
    struct driver_result result = good(0, check);
    assert_int_equal(result.slice.pids[0], pid);
    assert_int_equal(run(0, on(DRIVER_DESTROY, &made.slice.instance)).code, -EBUSY);
    good(0, on(DRIVER_DESTROY, &beside.slice.instance));
    struct driver_job sample = {.kind = DRIVER_SAMPLE, .has_instances = true};
    good(0, sample);
    do {
        result = good(0, sample);
    } while (!(result.sample.instances[0].read.valid & DRIVER_HAS_SM_UTIL));
    assert_true(result.sample.instances[0].read.memory_used_mib >= 2048);
    assert_true(result.sample.instances[0].read.sm_percent > 10);
    assert_int_equal(result.sample.instances[0].read.process_count, 1);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_string_equal(good(0, check).slice.instance.ci[0].mig_uuid, uuid);
    good(0, on(DRIVER_DESTROY, &made.slice.instance));
}

/* Each call fails once through the simulator's own door; nothing is left that nobody knows of. */
static void every_call_fails_once(void **state)
{
#define NAME(member, symbol, arguments) symbol,
    static const char *const calls[] = {NVML_FUNCTIONS(NAME)};
#undef NAME
    (void)state;
    machine_new("--gpu H100-SXM5-80GB", "none");
    switch_on(0);
    for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
        if (strstr(calls[i], "EventSet")) {
            continue; /* the watcher would take the fault */
        }
        tool("fault %s/m --call %s --return 999 --times 1", machine.dir, calls[i]);
        struct driver_result made = run(0, create_job(0, "1g.10gb", 3));
        assert_true(made.code != 0 || made.slice.is_there);
        struct driver_result gone = {0};
        if (made.slice.is_there) {
            gone = run(0, on(DRIVER_DESTROY, &made.slice.instance));
        }
        tool("clear %s/m", machine.dir);
        struct driver_result scan = good(0, (struct driver_job){.kind = DRIVER_SCAN});
        if (made.slice.is_there && gone.code != 0) {
            assert_int_equal(scan.scan.instance_count, 1);
            good(0, on(DRIVER_DESTROY, &scan.scan.instances[0]));
        } else {
            assert_int_equal(scan.scan.instance_count, 0);
        }
    }
}

static void one_gpu_hangs_the_other_works(void **state)
{
    (void)state;
    machine_new("--gpu H100-SXM5-80GB:2", "none");
    switch_on(0);
    switch_on(1);
    tool("fault %s/m --gpu 1 --call nvmlDeviceCreateGpuInstanceWithPlacement --hang forever",
         machine.dir);
    struct driver_job job = create_job(1, "1g.10gb", 0);
    assert_int_equal(driver_submit(machine.driver, 1, &job, NULL), 0);
    struct driver_result made = good(0, create_job(0, "1g.10gb", 0));
    good(0, on(DRIVER_DESTROY, &made.slice.instance));
    while (driver_busy_ms(machine.driver, 1) < 5) {
        sched_yield();
    }
    tool("clear %s/m", machine.dir);
    assert_int_equal(next().gpu, 1);
}

static void trouble_comes_as_events(void **state)
{
    (void)state;
    machine_new("--gpu H100-SXM5-80GB:2", "none");
    switch_on(0);
    struct driver_result made = good(0, create_job(0, "1g.10gb", 0));
    next_event(DRIVER_EVENT_MIG_CONFIG);
    tool("xid %s/m --gpu 0 --code 79 --gi %u", machine.dir, made.slice.instance.gi_id);
    struct driver_event event = next_event(DRIVER_EVENT_XID);
    assert_int_equal(event.xid, 79);
    assert_int_equal(event.gi_id, made.slice.instance.gi_id);
    tool("lose %s/m 0", machine.dir);
    assert_int_equal(run(0, (struct driver_job){.kind = DRIVER_SCAN}).code, -ENODEV);
    next_event(DRIVER_EVENT_LOST);
    good(1, (struct driver_job){.kind = DRIVER_SCAN});
}

static void ampere_in_use_waits_for_a_reset(void **state)
{
    struct driver_job mode = {.kind = DRIVER_SET_MODE, .is_enable = true};
    (void)state;
    machine_new("--gpu A100-SXM4-40GB", "none");
    pid_t pid = start_load(driver_gpu_info(machine.driver, 0)->uuid);
    while (good(0, (struct driver_job){.kind = DRIVER_SCAN}).scan.process_count == 0) {
        assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
    }
    struct driver_result result = run(0, mode);
    assert_int_equal(result.code, -EINPROGRESS);
    assert_true(result.mode.is_mig_pending && !result.mode.is_mig_enabled);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

static int compare_ns(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static void the_room_costs_little(void **state)
{
    int64_t overhead_ns[101];
    (void)state;
    machine_new("--gpu H100-SXM5-80GB", "none");
    switch_on(0);
    for (size_t i = 0; i < ARRAY_SIZE(overhead_ns); i++) {
        struct driver_result made = good(0, create_job(0, "1g.10gb", 0));
        good(0, on(DRIVER_DESTROY, &made.slice.instance));
        overhead_ns[i] = made.worker_ns - made.driver_ns;
    }
    qsort(overhead_ns, ARRAY_SIZE(overhead_ns), sizeof(overhead_ns[0]), compare_ns);
    assert_true(overhead_ns[50] < 1000000);
    print_message("overhead of a create beside the library: median %lld us\n",
                  (long long)overhead_ns[50] / 1000);
}

#define TEST(name) cmocka_unit_test_teardown(name, machine_free)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_model_is_discovered),
        TEST(slices_outlive_the_session),
        TEST(a_loaded_slice_stays),
        TEST(every_call_fails_once),
        TEST(one_gpu_hangs_the_other_works),
        TEST(trouble_comes_as_events),
        TEST(ampere_in_use_waits_for_a_reset),
        TEST(the_room_costs_little),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
