/* Many processes and threads on one machine, killed wherever they are: the machine stays whole. */
#include "sim_fixture.h"

#include "base/clock.h"
#include "sim/load.h"
#include "sim/slice.h"
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

static const unsigned int profiles[] = {19, 20, 15, 14, 9, 5, 0};

/* Does something random to a random GPU.  Any documented answer is fine. */
static void step(uint64_t *seed, unsigned int gpus)
{
    struct nvml_device *gpu = NULL;
    struct nvml_gpu_instance *gi = NULL;
    struct nvml_compute_instance *ci = NULL, *list[8];
    unsigned int n = 0;
    uint64_t r = sim_mix(*seed, 1);
    *seed = sim_mix(*seed, 2);
    if (nvmlDeviceGetHandleByIndex_v2(r % gpus, &gpu) != NVML_SUCCESS) {
        return;
    }
    if (r >> 8 & 1) {
        if (nvmlDeviceCreateGpuInstance(gpu, profiles[(r >> 16) % ARRAY_SIZE(profiles)], &gi) ==
            NVML_SUCCESS) {
            nvmlGpuInstanceCreateComputeInstance(gi, (r >> 32) % 5, &ci);
        }
    } else if (nvmlDeviceGetGpuInstanceById(gpu, (r >> 16) % SIM_MAX_GI, &gi) == NVML_SUCCESS) {
        for (unsigned int p = 0; p < 8; p++) {
            if (nvmlGpuInstanceGetComputeInstances(gi, p, list, &n) == NVML_SUCCESS) {
                for (unsigned int i = 0; i < n; i++) {
                    nvmlComputeInstanceDestroy(list[i]);
                }
            }
        }
        nvmlGpuInstanceDestroy(gi);
    }
}

/* Windows disjoint, ids in their place, engines within the budget: whatever happened. */
static void check_machine(const char *dir)
{
    CLEANUP(sim_machine_freep) struct sim_machine *m = NULL;
    assert_int_equal(sim_machine_open(dir, &m, NULL), 0);
    for (uint32_t i = 0; i < m->file->gpu_count; i++) {
        struct sim_gpu *gpu = &m->file->gpus[i];
        const struct sim_model *model = m->models[i];
        const struct sim_gi_profile *whole = sim_model_whole(model);
        sim_lock(&gpu->op); /* nobody died holding it for ever */
        sim_lock(&gpu->state);
        uint32_t slots = 0;
        int decoders = 0, ofas = 0;
        for (unsigned int id = 0; id < SIM_MAX_GI; id++) {
            const struct sim_gi *gi = &sim_gpu_state(gpu)->gis[id];
            if (!gi->is_used) {
                assert_int_equal(slice_ci_count(gi), 0);
                continue;
            }
            uint32_t window = ((1U << gi->size) - 1U) << gi->start;
            assert_int_equal(slots & window, 0);
            slots |= window;
            assert_int_equal(slice_gi_id(model, gpu->is_flipped, gi->start, gi->size), id);
            decoders += model->gis[gi->profile].decoders;
            ofas += model->gis[gi->profile].ofas;
            uint32_t slices = 0;
            for (int k = 0; k < SIM_MAX_CI; k++) {
                const struct sim_ci *ci = &gi->cis[k];
                if (ci->is_used) {
                    uint32_t part = ((1U << ci->size) - 1U) << ci->start;
                    assert_int_equal(slices & part, 0);
                    slices |= part;
                }
            }
            assert_int_equal(slices >> model->gis[gi->profile].slices, 0);
        }
        assert_true(decoders <= whole->decoders && ofas <= whole->ofas);
        sim_unlock(&gpu->state);
        sim_unlock(&gpu->op);
    }
}

static pid_t start_stepper(uint64_t seed, unsigned int gpus)
{
    pid_t pid = fork();
    if (pid == 0) {
        for (;;) {
            step(&seed, gpus);
        }
    }
    return pid;
}

/* Killed at any moment, inside any call, again and again. */
static void test_kill(void **state)
{
    (void)state;
    enum { PROCESSES = 4, KILLS = 150, GPUS = 2 };
    struct fixture *f = fixture_new("H100-SXM5-80GB", GPUS, "none", false, "590.48.01");
    fixture_mig_gpu(0);
    fixture_mig_gpu(1);
    pid_t pid[PROCESSES];
    for (uint64_t i = 0; i < PROCESSES; i++) {
        pid[i] = start_stepper(i, GPUS);
    }
    uint64_t seed = 99;
    for (uint64_t i = 0; i < KILLS; i++) {
        seed = sim_mix(seed, i);
        latency_sleep_us((int64_t)(seed % 2000));
        pid_t *victim = &pid[seed % PROCESSES];
        assert_int_equal(kill(*victim, SIGKILL), 0);
        assert_int_equal(waitpid(*victim, NULL, 0), *victim);
        check_machine(f->dir);
        *victim = start_stepper(seed, GPUS);
    }
    for (int i = 0; i < PROCESSES; i++) {
        kill(pid[i], SIGKILL);
        waitpid(pid[i], NULL, 0);
    }
    check_machine(f->dir);
    fixture_free(f);
}

/* Killed while a change takes its time: afterwards it was made or it was not. */
static void test_kill_in_latency(void **state)
{
    (void)state;
    struct fixture *f = fixture_new("A30", 1, "none,create-gi=20ms", false, "590.48.01");
    struct nvml_device *gpu = fixture_mig_gpu(0);
    unsigned int made = 0, not_made = 0;
    for (int64_t us = 1000; us <= 19000; us += 1500) {
        pid_t pid = fork();
        if (pid == 0) {
            _exit(fixture_create(gpu, 0) < 0);
        }
        latency_sleep_us(us);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        check_machine(f->dir);
        struct nvml_gpu_instance *gi = NULL;
        if (nvmlDeviceGetGpuInstanceById(gpu, 0, &gi) == NVML_SUCCESS) {
            made++;
            assert_int_equal(nvmlGpuInstanceDestroy(gi), NVML_SUCCESS);
        } else {
            not_made++;
        }
    }
    assert_true(made + not_made == 13);
    fixture_free(f);
}

struct worker {
    pthread_t thread;
    uint64_t seed;
};

static void *work(void *arg)
{
    struct worker *w = arg;
    for (int i = 0; i < 2000; i++) {
        assert_int_equal(nvmlInit_v2(), NVML_SUCCESS);
        step(&w->seed, 2);
        assert_int_equal(nvmlShutdown(), NVML_SUCCESS);
    }
    return NULL;
}

/* Threads of one process, with init and shutdown among them. */
static void test_threads(void **state)
{
    (void)state;
    struct fixture *f = fixture_new("H100-SXM5-80GB", 2, "none", false, "590.48.01");
    fixture_mig_gpu(0);
    fixture_mig_gpu(1);
    struct worker workers[6];
    assert_int_equal(nvmlShutdown(), NVML_SUCCESS); /* so that the count really reaches 0 */
    for (uint64_t i = 0; i < ARRAY_SIZE(workers); i++) {
        workers[i].seed = i;
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (size_t i = 0; i < ARRAY_SIZE(workers); i++) {
        pthread_join(workers[i].thread, NULL);
    }
    assert_int_equal(nvmlInit_v2(), NVML_SUCCESS);
    check_machine(f->dir);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kill),
        cmocka_unit_test(test_kill_in_latency),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
