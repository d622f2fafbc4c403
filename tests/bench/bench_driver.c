/* What the driver alone costs, without a daemon: the measure for starting and for cutting.
 *
 *     bench_driver init             nvmlInit and a handle for every GPU; then, in the same process,
 *                                   the driver room's discovery and one scan of every GPU
 *     bench_driver cut GPU N        N times on that GPU, which must be empty and have MIG on:
 *                                   make and take down profile 9 (3g on an H100) by the four calls
 *                                   that this needs and no others
 *
 * Uses the libnvidia-ml.so.1 that LD_LIBRARY_PATH finds.  Prints JSON lines. */
#include "base/clock.h"
#include "client.h"
#include "driver/driver.h"
#include "driver/nvml.h"
#include <dlfcn.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *library;

static void *symbol(const char *name)
{
    void *found = library ? dlsym(library, name) : NULL;

    if (!found) {
        bench_die("no %s: %s", name, dlerror());
    }
    return found;
}

static void check(nvml_return answer, const char *what)
{
    if (answer != NVML_SUCCESS) {
        bench_die("%s answered %d", what, (int)answer);
    }
}

#define CALL(name, type, ...) check(((nvml_return(*) type)symbol(name))(__VA_ARGS__), name)

static void open_library(void)
{
    library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    CALL("nvmlInit_v2", (void), );
}

static void print_one(const char *name, int64_t start_ns)
{
    int64_t ns = clock_mono_ns() - start_ns;

    bench_print(name, &ns, 1);
}

static void time_init(void)
{
    struct driver_settings settings = {0};
    struct driver_result result;
    struct driver *driver = NULL;
    struct error err = {0};
    int64_t start_ns = clock_mono_ns();
    unsigned count = 0, seen = 0;

    open_library();
    CALL("nvmlDeviceGetCount_v2", (unsigned *), &count);
    for (unsigned i = 0; i < count; i++) {
        nvml_device device = NULL;
        CALL("nvmlDeviceGetHandleByIndex_v2", (unsigned, nvml_device *), i, &device);
    }
    print_one("nvml_init", start_ns);
    CALL("nvmlShutdown", (void), );
    start_ns = clock_mono_ns();
    if (driver_open(&settings, &driver, &err) < 0) {
        bench_die("%s", err.msg);
    }
    for (unsigned i = 0; i < driver_gpu_count(driver); i++) {
        driver_submit(driver, i, &(struct driver_job){.kind = DRIVER_SCAN}, NULL);
    }
    while (seen < driver_gpu_count(driver)) {
        struct pollfd p = {.fd = driver_fd(driver), .events = POLLIN};
        poll(&p, 1, -1);
        while (driver_next_result(driver, &result)) {
            seen += result.kind == DRIVER_SCAN;
        }
    }
    print_one("discovery", start_ns);
    driver_close(driver);
}

static void time_cuts(unsigned gpu, size_t count)
{
    CLEANUP(freep) int64_t *making = xcalloc(count, sizeof(*making));
    CLEANUP(freep) int64_t *taking = xcalloc(count, sizeof(*taking));
    struct nvml_placement place = {.start = 4, .size = 4};
    nvml_device device = NULL;
    nvml_gi gi = NULL;
    nvml_ci ci = NULL;

    open_library();
    CALL("nvmlDeviceGetHandleByIndex_v2", (unsigned, nvml_device *), gpu, &device);
    for (size_t i = 0; i < count; i++) {
        int64_t start_ns = clock_mono_ns();
        CALL("nvmlDeviceCreateGpuInstanceWithPlacement",
             (nvml_device, unsigned, const struct nvml_placement *, nvml_gi *), device, 9, &place,
             &gi);
        CALL("nvmlGpuInstanceCreateComputeInstance", (nvml_gi, unsigned, nvml_ci *), gi, 2, &ci);
        int64_t middle_ns = clock_mono_ns();
        CALL("nvmlComputeInstanceDestroy", (nvml_ci), ci);
        CALL("nvmlGpuInstanceDestroy", (nvml_gi), gi);
        making[i] = middle_ns - start_ns;
        taking[i] = clock_mono_ns() - middle_ns;
    }
    bench_print("make", making, count);
    bench_print("take_down", taking, count);
}

int main(int argc, char **argv)
{
    if (argc == 2 && !strcmp(argv[1], "init")) {
        time_init();
        return 0;
    }
    if (argc == 4 && !strcmp(argv[1], "cut")) {
        time_cuts((unsigned)strtoul(argv[2], NULL, 10), strtoul(argv[3], NULL, 10));
        return 0;
    }
    bench_die("usage: bench_driver init|cut GPU N");
}
