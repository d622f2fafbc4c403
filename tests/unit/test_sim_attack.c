/* Clients that do what they should not: fork with threads, shut down under a waiter, use what they
 * have freed; and machines whose directory goes away under them. */
#include "sim_fixture.h"

#include "base/clock.h"
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

struct busy {
    pthread_t thread;
    bool is_over; /* atomic */
};

/* Takes every lock that the library has, as often as it can. */
static void *be_busy(void *arg)
{
    struct busy *busy = arg;
    while (!__atomic_load_n(&busy->is_over, __ATOMIC_RELAXED)) {
        struct nvml_event_set *set = NULL;
        struct nvml_gpm_sample *sample = NULL;
        assert_int_equal(nvmlInit_v2(), NVML_SUCCESS);
        assert_int_equal(nvmlEventSetCreate(&set), NVML_SUCCESS);
        assert_int_equal(nvmlGpmSampleAlloc(&sample), NVML_SUCCESS);
        assert_int_equal(nvmlEventSetFree(set), NVML_SUCCESS);
        assert_int_equal(nvmlGpmSampleFree(sample), NVML_SUCCESS);
        assert_int_equal(nvmlShutdown(), NVML_SUCCESS);
    }
    return NULL;
}

/* What a child may expect: its parent's session goes on, and it can end and begin its own. */
static int child(void)
{
    struct nvml_device *gpu = NULL;
    struct nvml_event_set *set = NULL;
    struct nvml_gpm_sample *sample = NULL;
    char name[96];
    alarm(10);
    bool is_ok = nvmlDeviceGetHandleByIndex_v2(0, &gpu) == 0 &&
                 nvmlDeviceGetName(gpu, name, sizeof(name)) == 0 && nvmlInit_v2() == 0 &&
                 nvmlEventSetCreate(&set) == 0 && nvmlGpmSampleAlloc(&sample) == 0 &&
                 nvmlGpmSampleGet(gpu, sample) == 0 && nvmlGpmSampleFree(sample) == 0 &&
                 nvmlEventSetFree(set) == 0 && nvmlShutdown() == 0;
    while (is_ok && nvmlShutdown() == NVML_SUCCESS) {
    }
    return is_ok && nvmlDeviceGetName(gpu, name, sizeof(name)) == NVML_ERROR_UNINITIALIZED &&
                   nvmlInit_v2() == 0 && nvmlDeviceGetName(gpu, name, sizeof(name)) == 0
               ? 0
               : 1;
}

static void test_fork_among_threads(void **state)
{
    (void)state;
    enum { CHILDREN = 200 };
    struct fixture *f = fixture_new("H100-SXM5-80GB", 1, "none", false, "590.48.01");
    struct busy busy[3] = {0};
    for (size_t i = 0; i < ARRAY_SIZE(busy); i++) {
        assert_int_equal(pthread_create(&busy[i].thread, NULL, be_busy, &busy[i]), 0);
    }
    for (int i = 0; i < CHILDREN; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            _exit(child());
        }
        int status = -1;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
    }
    for (size_t i = 0; i < ARRAY_SIZE(busy); i++) {
        __atomic_store_n(&busy[i].is_over, true, __ATOMIC_RELAXED);
        pthread_join(busy[i].thread, NULL);
    }
    fixture_free(f);
}

struct waiter {
    pthread_t thread;
    struct nvml_event_set *set;
    unsigned int timeout_ms;
    enum nvml_return rc;
    struct nvml_event_data data;
    int64_t took_ms;
};

static void *wait_for_event(void *arg)
{
    struct waiter *w = arg;
    int64_t start = clock_mono_ms();
    w->rc = nvmlEventSetWait_v2(w->set, &w->data, w->timeout_ms);
    w->took_ms = clock_mono_ms() - start;
    return NULL;
}

static void start_waiter(struct waiter *w, struct nvml_event_set *set, unsigned int timeout_ms)
{
    *w = (struct waiter){.set = set, .timeout_ms = timeout_ms, .rc = NVML_ERROR_UNKNOWN};
    assert_int_equal(pthread_create(&w->thread, NULL, wait_for_event, w), 0);
}

static struct nvml_event_set *set_on(struct nvml_device *gpu)
{
    struct nvml_event_set *set = NULL;
    assert_int_equal(nvmlEventSetCreate(&set), NVML_SUCCESS);
    assert_int_equal(nvmlDeviceRegisterEvents(gpu, NVML_EVENT_MIG_CONFIG, set), NVML_SUCCESS);
    return set;
}

/* Of two that wait for one set each event reaches one; two sets get it both; an event for another
 * GPU wakes nobody for good. */
static void test_two_waiters(void **state)
{
    (void)state;
    struct fixture *f = fixture_new("H100-SXM5-80GB", 2, "none", false, "590.48.01");
    struct nvml_device *gpu = fixture_mig_gpu(0), *other = fixture_mig_gpu(1);
    struct nvml_event_set *shared = set_on(gpu), *own = set_on(gpu);
    struct waiter w[3];
    start_waiter(&w[0], shared, 30000);
    start_waiter(&w[1], shared, 30000);
    start_waiter(&w[2], own, 30000);
    assert_true(fixture_create(other, 19) >= 0);
    assert_true(fixture_create(gpu, 19) >= 0);
    pthread_join(w[2].thread, NULL);
    assert_int_equal(w[2].rc, NVML_SUCCESS);
    assert_ptr_equal(w[2].data.device, gpu);
    assert_true(fixture_create(gpu, 19) >= 0); /* for the other of the two */
    pthread_join(w[0].thread, NULL);
    pthread_join(w[1].thread, NULL);
    assert_int_equal(w[0].rc, NVML_SUCCESS);
    assert_int_equal(w[1].rc, NVML_SUCCESS);
    struct nvml_event_data data;
    assert_int_equal(nvmlEventSetWait_v2(shared, &data, 0), NVML_ERROR_TIMEOUT);
    assert_int_equal(nvmlEventSetWait_v2(own, &data, 0), NVML_SUCCESS); /* the second one */
    assert_int_equal(nvmlEventSetWait_v2(own, &data, 0), NVML_ERROR_TIMEOUT);
    fixture_free(f);
}

/* Who waits is told at once that there is nothing left to wait for. */
static void test_waiting_for_nothing(void **state)
{
    (void)state;
    struct fixture *f = fixture_new("H100-SXM5-80GB", 1, "none", false, "590.48.01");
    struct nvml_device *gpu = fixture_gpu(0);
    struct nvml_event_set *set = set_on(gpu);
    struct waiter w;
    start_waiter(&w, set, 60000);
    assert_int_equal(nvmlEventSetFree(set), NVML_SUCCESS);
    pthread_join(w.thread, NULL);
    assert_int_equal(w.rc, NVML_ERROR_INVALID_ARGUMENT);
    assert_true(w.took_ms < 30000);
    assert_int_equal(nvmlEventSetFree(set), NVML_ERROR_INVALID_ARGUMENT);
    assert_int_equal(nvmlDeviceRegisterEvents(gpu, 1, set), NVML_ERROR_INVALID_ARGUMENT);

    start_waiter(&w, set_on(gpu), 60000);
    assert_int_equal(nvmlShutdown(), NVML_SUCCESS);
    pthread_join(w.thread, NULL);
    assert_int_equal(w.rc, NVML_ERROR_UNINITIALIZED);
    assert_true(w.took_ms < 30000);
    assert_int_equal(nvmlShutdown(), NVML_ERROR_UNINITIALIZED);
    assert_int_equal(nvmlInit_v2(), NVML_SUCCESS);
    fixture_free(f);
}

/* A timeout is kept however often others wake the waiter for nothing. */
static void test_timeouts(void **state)
{
    (void)state;
    struct fixture *f = fixture_new("H100-SXM5-80GB", 2, "none", false, "590.48.01");
    struct nvml_device *gpu = fixture_gpu(0), *other = fixture_mig_gpu(1);
    struct waiter w;
    start_waiter(&w, set_on(gpu), 200);
    int64_t end = clock_mono_ms() + 150;
    while (clock_mono_ms() < end) {
        struct nvml_gpu_instance *gi = NULL;
        assert_int_equal(nvmlDeviceCreateGpuInstance(other, 19, &gi), NVML_SUCCESS);
        assert_int_equal(nvmlGpuInstanceDestroy(gi), NVML_SUCCESS);
    }
    pthread_join(w.thread, NULL);
    assert_int_equal(w.rc, NVML_ERROR_TIMEOUT);
    assert_true(w.took_ms >= 195 && w.took_ms < 5000);
    fixture_free(f);
}

/* The directory goes while a client has the machine mapped: that client goes on, a new one finds
 * no driver, and once another machine is there both find that one. */
static void test_directory_goes(void **state)
{
    (void)state;
    struct fixture *f = fixture_new("H100-SXM5-80GB", 1, "none", false, "590.48.01");
    struct nvml_device *gpu = fixture_mig_gpu(0);
    struct nvml_gpu_instance *gi = NULL;
    char uuid[2][96];
    assert_int_equal(nvmlDeviceGetUUID(gpu, uuid[0], 96), NVML_SUCCESS);
    nftw(f->dir, fixture_remove, 16, FTW_DEPTH | FTW_PHYS);
    assert_int_equal(nvmlDeviceGetUUID(gpu, uuid[1], 96), NVML_SUCCESS);
    assert_string_equal(uuid[0], uuid[1]);
    if (geteuid() == 0) { /* others owned the file that is gone */
        assert_int_equal(nvmlDeviceCreateGpuInstance(gpu, 19, &gi), NVML_SUCCESS);
        assert_int_equal(nvmlGpuInstanceDestroy(gi), NVML_SUCCESS);
    }
    assert_int_equal(nvmlShutdown(), NVML_SUCCESS);
    assert_int_equal(nvmlInit_v2(), NVML_ERROR_DRIVER_NOT_LOADED);
    assert_int_equal(nvmlShutdown(), NVML_ERROR_UNINITIALIZED);
    struct sim_plan plan = {.gpus = {{.model = "A30", .count = 2}},
                            .gpu_count = 1,
                            .driver_version = "590.48.01",
                            .seed = 8};
    assert_int_equal(sim_machine_create(f->dir, &plan, NULL), 0);
    assert_int_equal(nvmlInit_v2(), NVML_SUCCESS);
    unsigned int count = 0;
    assert_int_equal(nvmlDeviceGetCount_v2(&count), NVML_SUCCESS);
    assert_int_equal(count, 2);
    fixture_free(f);
}

/* Damaged, cut off, or not to be written: no driver, and nothing worse. */
static void test_damaged_files(void **state)
{
    (void)state;
    struct fixture *f = fixture_new("A30", 1, "none", false, "590.48.01");
    char path[96];
    snprintf(path, sizeof(path), "%s/machine", f->dir);
    assert_int_equal(nvmlShutdown(), NVML_SUCCESS);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    /* All of it is on disk, so that a full one cannot kill a client that writes into the mapping.
     */
    assert_true(st.st_blocks * 512 >= st.st_size);
    assert_int_equal(truncate(path, st.st_size / 2), 0);
    assert_int_equal(nvmlInit_v2(), NVML_ERROR_LIB_RM_VERSION_MISMATCH);
    struct sim_machine *m = NULL;
    struct error err = {0};
    assert_int_equal(sim_machine_open(f->dir, &m, &err), -EPROTO);
    assert_non_null(strstr(err.msg, "remove it and create it anew"));
    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(nvmlInit_v2(), NVML_ERROR_LIB_RM_VERSION_MISMATCH);
    assert_int_equal(truncate(path, st.st_size), 0); /* as long as before, and all zero */
    assert_int_equal(nvmlInit_v2(), NVML_ERROR_LIB_RM_VERSION_MISMATCH);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0755), 0);
    assert_int_equal(nvmlInit_v2(), NVML_ERROR_DRIVER_NOT_LOADED);
    assert_int_equal(rmdir(path), 0);
    setenv("TANGRAM_SIM", "/dev/null", 1);
    assert_int_equal(nvmlInit_v2(), NVML_ERROR_DRIVER_NOT_LOADED);
    setenv("TANGRAM_SIM", "", 1);
    assert_int_equal(nvmlInit_v2(), NVML_ERROR_DRIVER_NOT_LOADED);
    nftw(f->dir, fixture_remove, 16, FTW_DEPTH | FTW_PHYS);
    free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fork_among_threads),  cmocka_unit_test(test_two_waiters),
        cmocka_unit_test(test_waiting_for_nothing), cmocka_unit_test(test_timeouts),
        cmocka_unit_test(test_directory_goes),      cmocka_unit_test(test_damaged_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
