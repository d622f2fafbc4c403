#include "base/clock.h"
#include "base/text.h"
#include "driver/driver.h"
#include "driver/nvml.h"
#include "fake_nvml.h"
#include "mig/mig.h"
#include <dlfcn.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* The driver room on a library that fails, hangs and lies at will (fake_nvml.c). */

#define ANY UINT32_MAX

struct fixture {
    void *library;
    struct fake_control *fake;
    struct driver *driver;
};

static struct fixture fix;

static void fake_lock(void)
{
    pthread_mutex_lock(&fix.fake->lock);
}

static void fake_unlock(void)
{
    pthread_cond_broadcast(&fix.fake->changed);
    pthread_mutex_unlock(&fix.fake->lock);
}

static void fail_next(const char *call, int code, uint32_t skip, uint32_t times)
{
    fake_lock();
    fix.fake->fail_call = call;
    fix.fake->fail_code = code;
    fix.fake->fail_gpu = ANY;
    fix.fake->fail_skip = skip;
    fix.fake->fail_times = times;
    fake_unlock();
}

static int begin(void **state)
{
    (void)state;
    memset(&fix, 0, sizeof(fix));
    fix.library = dlopen(FAKE_NVML, RTLD_NOW);
    assert_non_null(fix.library);
    fix.fake = dlsym(fix.library, "fake_control");
    fake_lock();
    memset(fix.fake->gpus, 0, sizeof(fix.fake->gpus));
    for (uint32_t i = 0; i < FAKE_GPUS; i++) {
        fix.fake->gpus[i].index = i;
        fix.fake->gpus[i].mode = fix.fake->gpus[i].pending = 1;
    }
    fix.fake->gpu_count = 2;
    fix.fake->fail_call = fix.fake->hang_call = NULL;
    fix.fake->is_misplacing = fix.fake->is_half_making = fix.fake->has_no_mig_device = false;
    fix.fake->event_type = 0;
    fix.fake->destroys = fix.fake->mig_walks = fix.fake->calls = 0;
    fake_unlock();
    return 0;
}

static void open_driver(void)
{
    struct driver_settings settings = {
        .path = FAKE_NVML, .open_timeout_ms = 5000, .event_wait_ms = 20};
    struct error err = {0};
    if (driver_open(&settings, &fix.driver, &err) < 0) {
        fail_msg("%s", err.msg);
    }
}

static int end(void **state)
{
    (void)state;
    fake_lock();
    fix.fake->hang_call = NULL;
    fix.fake->fail_call = NULL;
    fake_unlock();
    driver_close(fix.driver);
    fake_lock();
    while (fix.fake->sessions > 0) { /* also what hung has let go of the library */
        pthread_cond_wait(&fix.fake->changed, &fix.fake->lock);
    }
    assert_int_equal(fix.fake->gpm_samples, 0);
    fake_unlock();
    dlclose(fix.library);
    return 0;
}

/* The next result that is not an event. */
static struct driver_result next(void)
{
    struct driver_result result = {0};
    do {
        struct pollfd wait = {.fd = driver_fd(fix.driver), .events = POLLIN};
        assert_int_equal(poll(&wait, 1, 10000), 1);
        assert_true(driver_next_result(fix.driver, &result));
    } while (result.kind == DRIVER_EVENT);
    return result;
}

static struct driver_result run(uint32_t gpu, struct driver_job job)
{
    assert_int_equal(driver_submit(fix.driver, gpu, &job, NULL), 0);
    struct driver_result result = next();
    assert_int_equal(result.kind, job.kind);
    assert_int_equal(result.gpu, gpu);
    assert_int_equal(result.code == 0, result.message[0] == '\0');
    return result;
}

static struct driver_job create_job(uint32_t profile, uint8_t start, uint8_t size)
{
    return (struct driver_job){
        .kind = DRIVER_CREATE, .profile_id = profile, .start = start, .size = size};
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

static uint32_t count_gis(uint32_t gpu)
{
    uint32_t n = 0;
    fake_lock();
    for (uint32_t i = 0; i < FAKE_GIS; i++) {
        n += fix.fake->gpus[gpu].gis[i].is_used;
    }
    fake_unlock();
    return n;
}

static void discovery_reads_everything_from_the_driver(void **state)
{
    (void)state;
    fix.fake->gpus[1].is_incapable = true;
    open_driver();
    const struct mig_gpu_info *info = driver_gpu_info(fix.driver, 0);
    const struct mig_geometry *geometry = driver_gpu_geometry(fix.driver, 0);
    assert_int_equal(driver_gpu_count(fix.driver), 2);
    assert_string_equal(driver_versions(fix.driver)->driver, "1.2.3");
    assert_string_equal(info->uuid, "GPU-0");
    assert_string_equal(info->pci, "00000000:01:00.0");
    assert_true(info->is_healthy && info->is_mig_enabled && info->has_geometry);
    assert_int_equal(info->memory_mib, 81559);
    assert_non_null(geometry);
    assert_int_equal(geometry->slots, 8);
    assert_int_equal(mig_profile_by_name(geometry, "2g.20gb"), 1);
    assert_string_equal(geometry->profiles[2].compute[0].name, "1c.3g.40gb");
    info = driver_gpu_info(fix.driver, 1);
    assert_true(info->is_healthy && !info->is_mig_capable);
    assert_null(driver_gpu_geometry(fix.driver, 1));
}

static void a_gpu_that_fails_discovery_does_not_stop_the_others(void **state)
{
    (void)state;
    fix.fake->fail_call = "nvmlDeviceGetUUID";
    fix.fake->fail_code = NVML_ERROR_GPU_IS_LOST;
    fix.fake->fail_times = 1;
    fix.fake->fail_skip = 0;
    fix.fake->fail_gpu = 1;
    open_driver();
    assert_true(driver_gpu_info(fix.driver, 0)->is_healthy);
    assert_false(driver_gpu_info(fix.driver, 1)->is_healthy);
    assert_non_null(strstr(driver_gpu_info(fix.driver, 1)->reason, "lost"));
    assert_int_equal(run(1, (struct driver_job){.kind = DRIVER_SCAN}).code, -ENODEV);
    assert_int_equal(run(0, (struct driver_job){.kind = DRIVER_SCAN}).code, 0);
    /* It may be asked again. */
    assert_int_equal(run(1, (struct driver_job){.kind = DRIVER_DISCOVER}).code, 0);
    assert_true(driver_gpu_info(fix.driver, 1)->is_healthy);
    assert_ptr_equal(driver_gpu_geometry(fix.driver, 0), driver_gpu_geometry(fix.driver, 1));
}

static void a_bare_library_is_an_answer(void **state)
{
    struct driver_settings settings = {.path = FAKE_NVML_BARE};
    struct driver *driver = NULL;
    (void)state;
    assert_int_equal(driver_open(&settings, &driver, NULL), 0);
    assert_int_equal(driver_gpu_count(driver), 2);
    assert_true(driver_gpu_info(driver, 0)->is_healthy);
    assert_false(driver_gpu_info(driver, 0)->is_mig_capable);
    assert_string_equal(driver_versions(driver)->driver, "");
    struct driver *kept = fix.driver;
    fix.driver = driver;
    for (int kind = DRIVER_SCAN; kind < DRIVER_EVENT; kind++) {
        run(0, (struct driver_job){.kind = (enum driver_kind)kind, .size = 1});
    }
    fix.driver = kept;
    driver_close(driver);
}

static void what_is_no_driver_is_refused(void **state)
{
    struct driver_settings settings = {.path = "/nonexistent/libnvidia-ml.so.1"};
    struct driver *driver = NULL;
    struct error err = {0};
    (void)state;
    assert_int_equal(driver_open(&settings, &driver, &err), -ENOENT);
    assert_non_null(strstr(err.msg, "--simulate"));
    settings.path = "libm.so.6";
    assert_int_equal(driver_open(&settings, &driver, &err), -ELIBBAD);
    settings.path = FAKE_NVML;
    fail_next("nvmlInit_v2", NVML_ERROR_DRIVER_NOT_LOADED, 0, 1);
    assert_int_equal(driver_open(&settings, &driver, &err), -ENODEV);
    assert_non_null(strstr(err.msg, "modprobe"));
    fail_next("nvmlDeviceGetCount_v2", NVML_ERROR_LIB_RM_VERSION_MISMATCH, 0, 1);
    assert_int_equal(driver_open(&settings, &driver, &err), -ELIBBAD);
    assert_null(driver);
}

static void a_driver_that_hangs_at_start_is_left(void **state)
{
    struct driver_settings settings = {.path = FAKE_NVML, .open_timeout_ms = 30};
    struct driver *driver = NULL;
    struct error err = {0};
    (void)state;
    uint32_t shutdowns = fix.fake->shutdowns;
    fix.fake->hang_call = "nvmlInit_v2";
    assert_int_equal(driver_open(&settings, &driver, &err), -ETIMEDOUT);
    assert_null(driver);
    /* Should it come back after all, the library is ended. */
    fake_lock();
    fix.fake->hang_call = NULL;
    pthread_cond_broadcast(&fix.fake->changed);
    while (fix.fake->shutdowns == shutdowns) {
        pthread_cond_wait(&fix.fake->changed, &fix.fake->lock);
    }
    fake_unlock();
}

static void a_gpu_that_hangs_at_discovery_may_come_late(void **state)
{
    struct driver_settings settings = {.path = FAKE_NVML, .open_timeout_ms = 30};
    (void)state;
    fix.fake->hang_call = "nvmlDeviceGetName";
    fix.fake->hang_gpu = 1;
    assert_int_equal(driver_open(&settings, &fix.driver, NULL), 0);
    assert_true(driver_gpu_info(fix.driver, 0)->is_healthy);
    assert_false(driver_gpu_info(fix.driver, 1)->is_healthy);
    assert_non_null(strstr(driver_gpu_info(fix.driver, 1)->reason, "did not answer"));
    fake_lock();
    fix.fake->hang_call = NULL;
    fake_unlock();
    assert_int_equal(next().kind, DRIVER_DISCOVER);
    assert_true(driver_gpu_info(fix.driver, 1)->is_healthy);
}

static void create_and_destroy(void **state)
{
    (void)state;
    open_driver();
    struct driver_result made = run(0, create_job(14, 4, 2));
    assert_int_equal(made.code, 0);
    assert_true(made.slice.is_there);
    assert_int_equal(made.slice.instance.start, 4);
    assert_int_equal(made.slice.instance.ci_count, 1);
    assert_string_equal(made.slice.instance.ci[0].mig_uuid, "MIG-0-4-14-0-0");
    assert_true(made.driver_ns > 0 && made.worker_ns >= made.driver_ns);
    struct driver_result scan = run(0, (struct driver_job){.kind = DRIVER_SCAN});
    assert_int_equal(scan.scan.instance_count, 1);
    assert_string_equal(scan.scan.instances[0].ci[0].mig_uuid, "MIG-0-4-14-0-0");
    struct driver_result gone = run(0, on(DRIVER_DESTROY, &made.slice.instance));
    assert_int_equal(gone.code, 0);
    assert_false(gone.slice.is_there);
    assert_int_equal(count_gis(0), 0);
    assert_int_equal(run(0, on(DRIVER_DESTROY, &made.slice.instance)).code, -ENOENT);
}

static void no_room_is_said(void **state)
{
    (void)state;
    open_driver();
    assert_int_equal(run(0, create_job(0, 0, 8)).code, 0);
    struct driver_result full = run(0, create_job(19, 3, 1));
    assert_int_equal(full.code, -ENOSPC);
    assert_int_equal(full.nvml, NVML_ERROR_INSUFFICIENT_RESOURCES);
    assert_false(full.slice.is_there);
    assert_int_equal(run(0, create_job(77, 3, 1)).code, -EINVAL);
}

static void compute_instances_come_and_go(void **state)
{
    (void)state;
    open_driver();
    struct driver_job job = create_job(9, 0, 4);
    job.ci_slices = 1;
    struct driver_result made = run(0, job);
    assert_int_equal(made.code, 0);
    assert_int_equal(made.slice.instance.ci[0].profile_id, 0);
    struct driver_job more = on(DRIVER_CREATE_CI, &made.slice.instance);
    more.ci_slices = 2;
    struct driver_result second = run(0, more);
    assert_int_equal(second.code, 0);
    assert_int_equal(second.slice.instance.ci_count, 2);
    assert_string_equal(second.slice.instance.ci[1].mig_uuid, "MIG-0-0-9-1-0");
    more = on(DRIVER_DESTROY_CI, &made.slice.instance);
    more.ci_id = 1; /* whose UUID is another one */
    assert_int_equal(run(0, more).code, -ESTALE);
    more.ci_id = 0;
    struct driver_result less = run(0, more);
    assert_int_equal(less.code, 0);
    assert_int_equal(less.slice.instance.ci_count, 1);
    assert_int_equal(less.slice.instance.ci[0].id, 1);
    more.ci_id = 5;
    more.mig_uuid[0] = '\0';
    assert_int_equal(run(0, more).code, -ENOENT);
    job.start = 4;
    job.ci_slices = 6;
    assert_int_equal(run(0, job).code, -EINVAL);
    assert_int_equal(count_gis(0), 1); /* the second GPU instance was undone */
}

static void a_misplaced_instance_is_undone(void **state)
{
    (void)state;
    open_driver();
    fix.fake->is_misplacing = true;
    struct driver_result made = run(0, create_job(19, 2, 1));
    assert_int_equal(made.code, -EXDEV);
    assert_false(made.slice.is_there);
    assert_int_equal(count_gis(0), 0);
    fail_next("nvmlGpuInstanceDestroy", NVML_ERROR_UNKNOWN, 0, 1);
    made = run(0, create_job(19, 2, 1));
    assert_int_equal(made.code, -EXDEV);
    assert_true(made.slice.is_there);
    assert_int_equal(made.slice.instance.start, 3);
    assert_int_equal(count_gis(0), 1);
}

static void an_instance_made_despite_an_error_is_found(void **state)
{
    (void)state;
    open_driver();
    fix.fake->is_half_making = true;
    fail_next("nvmlDeviceCreateGpuInstanceWithPlacement", NVML_ERROR_TIMEOUT, 0, 1);
    struct driver_result made = run(0, create_job(19, 2, 1));
    assert_int_equal(made.code, -ETIMEDOUT);
    assert_true(made.slice.is_there);
    assert_int_equal(made.slice.instance.ci_count, 0);
}

static void without_a_mig_device_nothing_is_given(void **state)
{
    (void)state;
    open_driver();
    fix.fake->has_no_mig_device = true;
    struct driver_result made = run(0, create_job(19, 2, 1));
    assert_int_equal(made.code, -EIO);
    assert_false(made.slice.is_there);
    assert_int_equal(count_gis(0), 0);
}

/* Whatever call fails, and however: a create either gives an instance or says what is left, and a
 * later destroy cleans up. */
static void every_call_fails_once(void **state)
{
#define NAME(member, symbol, arguments) symbol,
    static const char *const calls[] = {NVML_FUNCTIONS(NAME)};
#undef NAME
    static const int codes[] = {NVML_ERROR_INVALID_ARGUMENT, NVML_ERROR_NOT_SUPPORTED,
                                NVML_ERROR_NOT_FOUND,        NVML_ERROR_NO_PERMISSION,
                                NVML_ERROR_TIMEOUT,          NVML_ERROR_IN_USE,
                                NVML_ERROR_GPU_IS_LOST,      NVML_ERROR_UNKNOWN};
    (void)state;
    open_driver();
    for (size_t i = 0; i < ARRAY_SIZE(calls) * ARRAY_SIZE(codes) * 3; i++) {
        const char *call = calls[i / ARRAY_SIZE(codes) / 3];
        fail_next(call, codes[i / 3 % ARRAY_SIZE(codes)], i % 3, 1);
        struct driver_result made = run(0, create_job(14, 2, 2));
        if (count_gis(0) != (made.slice.is_there ? 1 : 0) ||
            (made.code == 0) > made.slice.is_there) {
            fail_msg("%s %zu: code %d, %s", call, i, made.code, made.message);
        }
        struct driver_result gone = {0};
        if (made.slice.is_there) {
            struct driver_job job = on(DRIVER_DESTROY, &made.slice.instance);
            gone = run(0, job);
            if (gone.code != 0 && gone.code != -ESTALE && gone.code != -ENOENT) {
                assert_int_equal(count_gis(0), 1);
            }
        }
        fail_next(NULL, 0, 0, 0);
        struct driver_result scan = run(0, (struct driver_job){.kind = DRIVER_SCAN});
        assert_int_equal(scan.code, 0);
        assert_int_equal(scan.scan.instance_count, count_gis(0));
        for (uint32_t k = 0; k < scan.scan.instance_count; k++) {
            gone = run(0, on(DRIVER_DESTROY, &scan.scan.instances[k]));
            assert_int_equal(gone.code, 0);
        }
        assert_int_equal(count_gis(0), 0);
    }
}

/* What a start makes of a slice that stands while one call fails, once or always. */
static void check_slice_is_not_denied(const char *what)
{
    struct driver_settings settings = {.path = FAKE_NVML, .open_timeout_ms = 5000};

    if (driver_open(&settings, &fix.driver, NULL) == 0 && driver_gpu_count(fix.driver)) {
        struct driver_result scan = run(0, (struct driver_job){.kind = DRIVER_SCAN});
        if (scan.code == 0 &&
            (scan.scan.instance_count != 1 || scan.scan.instances[0].ci_count != 1)) {
            fail_msg("%s: a scan does not show the slice", what);
        }
        struct driver_job check = {.kind = DRIVER_CHECK, .start = 2, .size = 2, .profile_id = 14};
        if (run(0, check).code == -ENOENT) {
            fail_msg("%s: a check says that nothing is there", what);
        }
    }
    driver_close(TAKE_PTR(fix.driver));
}

static void what_cannot_be_read_is_never_gone(void **state)
{
#define NAME(member, symbol, arguments) symbol,
    static const char *const calls[] = {NVML_FUNCTIONS(NAME)};
#undef NAME
    static const int codes[] = {NVML_ERROR_INVALID_ARGUMENT, NVML_ERROR_NOT_SUPPORTED,
                                NVML_ERROR_NOT_FOUND, NVML_ERROR_NO_PERMISSION, NVML_ERROR_UNKNOWN};
    (void)state;
    fake_lock();
    fix.fake->gpu_count = 1;
    fake_unlock();
    open_driver();
    assert_int_equal(run(0, create_job(14, 2, 2)).code, 0);
    driver_close(TAKE_PTR(fix.driver));
    for (size_t i = 0; i < ARRAY_SIZE(calls) * ARRAY_SIZE(codes) * 2; i++) {
        const char *call = calls[i / ARRAY_SIZE(codes) / 2];
        int code = codes[i / 2 % ARRAY_SIZE(codes)];
        char what[96];
        if (!strcmp(call, "nvmlShutdown")) {
            continue; /* the fake counts sessions */
        }
        snprintf(what, sizeof(what), "%s answers %d%s", call, code, i % 2 ? " once" : "");
        fail_next(call, code, 0, i % 2 ? 1 : UINT32_MAX);
        check_slice_is_not_denied(what);
        fail_next(NULL, 0, 0, 0);
    }
}

static void a_running_process_is_never_disturbed(void **state)
{
    (void)state;
    open_driver();
    struct driver_result made = run(0, create_job(14, 2, 2));
    fake_lock();
    struct fake_gpu *gpu = &fix.fake->gpus[0];
    for (uint32_t i = 0; i < 150; i++) { /* more than the first buffer takes */
        gpu->pids[i] = 1000 + i;
        gpu->pid_gi[i] = i < 20 ? made.slice.instance.gi_id : NVML_NO_ID;
    }
    gpu->pid_count = 150;
    fake_unlock();
    struct driver_result check = run(0, on(DRIVER_CHECK, &made.slice.instance));
    assert_int_equal(check.code, 0);
    assert_int_equal(check.slice.pid_count, 20);
    assert_int_equal(check.slice.pids[15], 1015);
    assert_int_equal(check.slice.instance.process_count, 20);
    struct driver_result scan = run(0, (struct driver_job){.kind = DRIVER_SCAN});
    assert_int_equal(scan.scan.process_count, 130);
    struct driver_result gone = run(0, on(DRIVER_DESTROY, &made.slice.instance));
    assert_int_equal(gone.code, -EBUSY);
    assert_true(gone.slice.is_there);
    assert_int_equal(gone.slice.instance.ci_count, 1);
    assert_non_null(strstr(gone.message, "pid 1000"));
    assert_int_equal(fix.fake->destroys, 0);
    struct driver_job job = on(DRIVER_DESTROY_CI, &made.slice.instance);
    assert_int_equal(run(0, job).code, -EBUSY);
    assert_int_equal(fix.fake->destroys, 0);
}

static void in_use_is_retried_and_then_said(void **state)
{
    (void)state;
    open_driver();
    struct driver_result made = run(0, create_job(14, 2, 2));
    fail_next("nvmlComputeInstanceDestroy", NVML_ERROR_IN_USE, 0, 3);
    assert_int_equal(run(0, on(DRIVER_DESTROY, &made.slice.instance)).code, 0);
    made = run(0, create_job(14, 2, 2));
    fail_next("nvmlGpuInstanceDestroy", NVML_ERROR_IN_USE, 0, 1000);
    struct driver_result gone = run(0, on(DRIVER_DESTROY, &made.slice.instance));
    assert_int_equal(gone.code, -EBUSY);
    assert_int_equal(gone.nvml, NVML_ERROR_IN_USE);
    assert_true(gone.slice.is_there);
    assert_int_equal(gone.slice.instance.ci_count, 0);
    assert_true(gone.worker_ns < 2000000000);
    assert_true(gone.driver_ns < 100000000); /* waiting is not the driver's time */
}

static void another_instance_is_not_touched(void **state)
{
    (void)state;
    open_driver();
    struct driver_result made = run(0, create_job(14, 2, 2));
    fix.fake->uuid_round = 1; /* somebody made it anew behind our back */
    struct driver_result gone = run(0, on(DRIVER_DESTROY, &made.slice.instance));
    assert_int_equal(gone.code, -ESTALE);
    assert_true(gone.slice.is_there);
    struct driver_job job = on(DRIVER_DESTROY, &made.slice.instance);
    job.mig_uuid[0] = '\0';
    job.profile_id = 19;
    assert_int_equal(run(0, job).code, -ESTALE);
    job.profile_id = MIG_NO_ID;
    job.size = 1;
    assert_int_equal(run(0, job).code, -ESTALE);
    assert_int_equal(fix.fake->destroys, 0);
    job.size = 2;
    job.is_bare = true; /* it has a compute instance: it is not what a failed attempt has left */
    assert_int_equal(run(0, job).code, -ESTALE);
    assert_int_equal(fix.fake->destroys, 0);
    job.is_bare = false;
    assert_int_equal(run(0, job).code, 0);
    fix.fake->uuid_round = 0;
}

static void one_gpu_hangs_the_other_works(void **state)
{
    const struct driver_job scan = {.kind = DRIVER_SCAN, .tag = 7};
    (void)state;
    open_driver();
    fake_lock();
    fix.fake->hang_call = "nvmlDeviceGetGpuInstances";
    fix.fake->hang_gpu = 1;
    fake_unlock();
    assert_int_equal(driver_submit(fix.driver, 1, &scan, NULL), 0);
    fake_lock();
    while (fix.fake->hanging == 0) {
        pthread_cond_wait(&fix.fake->changed, &fix.fake->lock);
    }
    fake_unlock();
    assert_int_equal(run(0, create_job(19, 0, 1)).code, 0);
    while (driver_busy_ms(fix.driver, 1) < 2) {
        sched_yield();
    }
    assert_int_equal(driver_busy_ms(fix.driver, 0), 0);
    for (int i = 1; i < 256; i++) {
        assert_int_equal(driver_submit(fix.driver, 1, &scan, NULL), 0);
    }
    assert_int_equal(driver_submit(fix.driver, 1, &scan, NULL), -ENOBUFS);
    assert_int_equal(driver_pending(fix.driver, 1), 256);
    int64_t started_ms = clock_mono_ms();
    driver_close(TAKE_PTR(fix.driver)); /* bounded, though the worker still hangs */
    assert_true(clock_mono_ms() - started_ms < 3000);
}

static void results_come_in_the_order_of_jobs(void **state)
{
    (void)state;
    open_driver();
    for (uint64_t i = 0; i < 100; i++) {
        struct driver_job job = {.kind = DRIVER_SCAN, .tag = i};
        assert_int_equal(driver_submit(fix.driver, i % 2, &job, NULL), 0);
    }
    uint64_t expect[2] = {0, 1};
    for (int i = 0; i < 100; i++) {
        struct driver_result result = next();
        assert_int_equal(result.tag, expect[result.gpu]);
        expect[result.gpu] += 2;
    }
    struct driver_result rest;
    while (driver_next_result(fix.driver, &rest)) {
        assert_int_equal(rest.kind, DRIVER_EVENT); /* the watcher may have seen something late */
    }
    struct driver_job bad = {.kind = DRIVER_EVENT};
    assert_int_equal(driver_submit(fix.driver, 0, &bad, NULL), -EINVAL);
    assert_int_equal(driver_submit(fix.driver, 2, &bad, NULL), -ENODEV);
}

static void ampere_waits_for_a_reset(void **state)
{
    struct driver_job mode = {.kind = DRIVER_SET_MODE, .is_enable = true};
    (void)state;
    fix.fake->gpus[0].is_ampere = true;
    fix.fake->gpus[0].mode = fix.fake->gpus[0].pending = 0;
    fix.fake->gpus[1].mode = fix.fake->gpus[1].pending = 0;
    open_driver();
    assert_true(driver_gpu_info(fix.driver, 0)->is_mig_capable);
    assert_false(driver_gpu_info(fix.driver, 0)->has_geometry);
    struct driver_result result = run(0, mode);
    assert_int_equal(result.code, -EINPROGRESS);
    assert_false(result.mode.is_mig_enabled);
    assert_true(result.mode.is_mig_pending);
    assert_int_equal(result.mode.activation, NVML_ERROR_IN_USE);
    assert_non_null(strstr(result.message, "reset"));
    fix.fake->gpus[0].mode = 1; /* the administrator did it */
    assert_int_equal(run(0, create_job(19, 0, 1)).code, 0);
    assert_int_equal(run(0, (struct driver_job){.kind = DRIVER_DISCOVER}).code, 0);
    assert_true(driver_gpu_info(fix.driver, 0)->has_geometry);
    result = run(1, mode);
    assert_int_equal(result.code, 0);
    assert_true(result.mode.is_mig_enabled);
    fail_next("nvmlDeviceSetMigMode", NVML_ERROR_NO_PERMISSION, 0, 1);
    assert_int_equal(run(1, mode).code, -EACCES);
}

/* The next event of that kind of GPU 1. */
static struct driver_event next_event(enum driver_event_kind kind)
{
    struct driver_result result = {0};
    do {
        struct pollfd wait = {.fd = driver_fd(fix.driver), .events = POLLIN};
        assert_int_equal(poll(&wait, 1, 10000), 1);
        assert_true(driver_next_result(fix.driver, &result));
    } while (result.kind != DRIVER_EVENT || result.gpu != 1 || result.event.kind != kind);
    return result.event;
}

static void wait_for_watch(void)
{
    for (int left = 2; left > 0;) {
        struct driver_result result = {0};
        struct pollfd wait = {.fd = driver_fd(fix.driver), .events = POLLIN};
        assert_int_equal(poll(&wait, 1, 10000), 1);
        assert_true(driver_next_result(fix.driver, &result));
        left -= result.kind == DRIVER_EVENT;
    }
}

static void samples_carry_what_there_is(void **state)
{
    struct driver_job job = {.kind = DRIVER_SAMPLE, .has_instances = true};
    (void)state;
    open_driver();
    wait_for_watch(); /* its first event drops kept handles */
    run(0, create_job(14, 2, 2));
    struct driver_result first = run(0, job);
    assert_int_equal(first.code, 0);
    assert_int_equal(first.sample.read.valid,
                     DRIVER_HAS_MEMORY | DRIVER_HAS_PROCESSES | DRIVER_CAN_SM_UTIL);
    assert_int_equal(first.sample.instance_count, 1);
    struct driver_sample_instance *instance = &first.sample.instances[0];
    assert_int_equal(instance->read.valid, DRIVER_HAS_MEMORY | DRIVER_HAS_PROCESSES);
    assert_int_equal(instance->read.memory_used_mib, 10);
    uint32_t walks = fix.fake->mig_walks;
    struct driver_result second;
    do { /* GPM has an answer once 100 ms have passed */
        second = run(0, job);
        instance = &second.sample.instances[0];
    } while (!(instance->read.valid & DRIVER_HAS_SM_UTIL));
    assert_true(second.sample.mono_ms - first.sample.mono_ms >= 90);
    assert_int_equal(instance->read.sm_percent, 42);
    assert_false(instance->read.valid & DRIVER_HAS_GPU_UTIL);
    assert_int_equal(fix.fake->mig_walks, walks); /* the handle was kept */
    assert_int_equal(fix.fake->gpm_samples, 1);
    assert_true(instance->read.span_ms >= 90 && instance->read.span_ms < 60000);
    job.is_brief = true; /* leaves what is being measured alone */
    struct driver_result brief = run(0, job);
    assert_int_equal(brief.sample.read.valid, DRIVER_HAS_PROCESSES);
    assert_int_equal(brief.sample.instance_count, 0);
    assert_int_equal(fix.fake->gpm_samples, 1);
    job.is_brief = false;
    job.starts = 1u << 2;
    assert_int_equal(run(0, job).sample.instance_count, 1);
    job.starts = 1u << 3; /* another slice's */
    assert_int_equal(run(0, job).sample.instance_count, 0);
    assert_int_equal(fix.fake->gpm_samples, 0);
    job.has_instances = false;
    assert_int_equal(run(0, job).sample.instance_count, 0);
    assert_int_equal(fix.fake->gpm_samples, 0); /* and nothing is held now */
}

/* Samples until that hangs in GPM: before 100 ms have passed there is no new sample, and nothing to
 * hang in. */
static void hang_in_a_sample(const struct driver_job *job)
{
    bool is_hanging = false;

    fake_lock();
    fix.fake->hang_call = "nvmlGpmMigSampleGet";
    fix.fake->hang_gpu = 0;
    fake_unlock();
    for (;;) {
        assert_int_equal(driver_submit(fix.driver, 0, job, NULL), 0);
        fake_lock();
        while (fix.fake->hanging == 0 && driver_pending(fix.driver, 0)) {
            fake_unlock();
            sched_yield();
            fake_lock();
        }
        is_hanging = fix.fake->hanging > 0;
        fake_unlock();
        if (is_hanging) {
            return;
        }
        assert_int_equal(next().sample.instance_count, 2);
    }
}

static void a_sample_makes_way_for_who_waits(void **state)
{
    const struct driver_job scan = {.kind = DRIVER_SCAN};
    struct driver_job job = {.kind = DRIVER_SAMPLE, .has_instances = true};
    struct driver_result result = {0};
    (void)state;
    open_driver();
    wait_for_watch();
    run(0, create_job(14, 0, 2));
    run(0, create_job(14, 2, 2));
    assert_int_equal(run(0, job).sample.instance_count, 2);
    assert_int_equal(fix.fake->gpm_samples, 2);
    /* Again when the 100 ms were over between the two, so that the second one was hung in. */
    for (int tries = 0; result.sample.instance_count != 1; tries++) {
        assert_in_range(tries, 0, 20);
        hang_in_a_sample(&job);
        assert_int_equal(driver_submit(fix.driver, 0, &scan, NULL), 0);
        fake_lock();
        fix.fake->hang_call = NULL;
        fake_unlock();
        result = next();
        assert_int_equal(result.kind, DRIVER_SAMPLE);
        assert_int_equal(next().kind, DRIVER_SCAN);
    }
    assert_int_equal(fix.fake->gpm_samples, 2); /* what was not looked at is not forgotten */
}

static void events_come_as_results(void **state)
{
    (void)state;
    open_driver();
    next_event(DRIVER_EVENT_MIG_CONFIG); /* the watch has begun */
    fake_lock();
    fix.fake->event_gpu = 1;
    fix.fake->event_type = NVML_EVENT_XID;
    fix.fake->event_data = 79;
    fake_unlock();
    struct driver_event event = next_event(DRIVER_EVENT_XID);
    assert_int_equal(event.xid, 79);
    fake_lock();
    fix.fake->event_type = NVML_EVENT_MIG_CONFIG;
    fake_unlock();
    next_event(DRIVER_EVENT_MIG_CONFIG);
    /* A set that fails is built anew; a GPU that is lost is told. */
    fake_lock();
    fix.fake->fail_call = "nvmlEventSetWait_v2";
    fix.fake->fail_code = NVML_ERROR_GPU_IS_LOST;
    fix.fake->fail_gpu = ANY;
    fix.fake->fail_skip = 0;
    fix.fake->fail_times = 1;
    fix.fake->hang_call = "nvmlEventSetFree"; /* holds the watcher until all is set up */
    while (fix.fake->hanging == 0) {
        pthread_cond_wait(&fix.fake->changed, &fix.fake->lock);
    }
    fix.fake->hang_call = NULL;
    fix.fake->fail_call = "nvmlDeviceGetSupportedEventTypes";
    fix.fake->fail_gpu = 1;
    fix.fake->fail_times = 1;
    fake_unlock();
    next_event(DRIVER_EVENT_LOST);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(discovery_reads_everything_from_the_driver),
        TEST(a_gpu_that_fails_discovery_does_not_stop_the_others),
        TEST(a_bare_library_is_an_answer),
        TEST(what_is_no_driver_is_refused),
        TEST(a_driver_that_hangs_at_start_is_left),
        TEST(a_gpu_that_hangs_at_discovery_may_come_late),
        TEST(create_and_destroy),
        TEST(no_room_is_said),
        TEST(compute_instances_come_and_go),
        TEST(a_misplaced_instance_is_undone),
        TEST(an_instance_made_despite_an_error_is_found),
        TEST(without_a_mig_device_nothing_is_given),
        TEST(every_call_fails_once),
        TEST(what_cannot_be_read_is_never_gone),
        TEST(a_running_process_is_never_disturbed),
        TEST(in_use_is_retried_and_then_said),
        TEST(another_instance_is_not_touched),
        TEST(one_gpu_hangs_the_other_works),
        TEST(results_come_in_the_order_of_jobs),
        TEST(ampere_waits_for_a_reset),
        TEST(samples_carry_what_there_is),
        TEST(a_sample_makes_way_for_who_waits),
        TEST(events_come_as_results),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
