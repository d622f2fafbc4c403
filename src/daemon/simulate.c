/* The embedded machine of --simulate: made once below the state directory by tangram-sim, kept
 * between starts, and seen through our own libnvidia-ml.so.1. */
#include "base/log.h"
#include "base/text.h"
#include "daemon/daemon.h"
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define GPU_SPECS_MAX 16

/* The folder of this program. */
static int own_folder(char ret[static PATH_MAX], struct error *err)
{
    ssize_t n = readlink("/proc/self/exe", ret, PATH_MAX - 1);

    if (n < 0) {
        return err_set(err, errno, "cannot find the folder of tangramd: %s", strerror(errno));
    }
    ret[n] = '\0';
    char *slash = strrchr(ret, '/');
    if (slash) {
        *slash = '\0';
    }
    return 0;
}

/* In the build folder the library lies beside the program, installed it has a folder of its own. */
static int find_library(const char *folder, char ret[static PATH_MAX], struct error *err)
{
    snprintf(ret, PATH_MAX, "%.4000s/src/sim/libnvidia-ml.so.1", folder);
    if (access(ret, R_OK) == 0) {
        return 0;
    }
    text_copy(ret, PATH_MAX, SIM_LIBRARY_DIR "/libnvidia-ml.so.1");
    if (access(ret, R_OK) == 0) {
        return 0;
    }
    return err_set(err, ENOENT, "the simulated libnvidia-ml.so.1 is neither beside tangramd (%s) "
                   "nor in %s; is tangram installed whole?", folder, SIM_LIBRARY_DIR);
}

static int run_tool(const char *tool, const char *const *argv, struct error *err)
{
    pid_t pid = 0;
    int status = 0;
    int rc = posix_spawn(&pid, tool, NULL, NULL, (char *const *)(uintptr_t)argv, environ);

    if (rc != 0) {
        return err_set(err, rc, "cannot run %s: %s", tool, strerror(rc));
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        return err_set(err, EINVAL, "%s could not make the simulated machine (see above); "
                       "`tangram-sim models` lists the models", tool);
    }
    return 0;
}

/* tangram-sim create DIR --gpu A:2 --gpu B --latency typical */
static int make_machine(const char *tool, const char *dir, const char *spec, struct error *err)
{
    const char *argv[2 * GPU_SPECS_MAX + 8] = {tool, "create", dir, "--latency", "typical"};
    CLEANUP(freep) char *specs = xstrdup(spec);
    char *save = NULL;
    size_t n = 5;

    for (char *s = strtok_r(specs, ",", &save); s; s = strtok_r(NULL, ",", &save)) {
        if (n + 3 > ARRAY_SIZE(argv)) {
            return err_set(err, E2BIG, "--simulate takes %d models at most", GPU_SPECS_MAX);
        }
        argv[n++] = "--gpu";
        argv[n++] = s;
    }
    return run_tool(tool, argv, err);
}

int simulate_prepare(struct daemon *d, struct error *err)
{
    char folder[PATH_MAX], tool[PATH_MAX];
    CLEANUP(freep) char *machine = xasprintf("%s/machine", d->config.state_dir);
    struct stat st;
    int rc = own_folder(folder, err);

    rc = rc < 0 ? rc : find_library(folder, d->sim_library, err);
    if (rc < 0) {
        return rc;
    }
    snprintf(tool, sizeof(tool), "%.4000s/tangram-sim", folder);
    if (stat(machine, &st) < 0) {
        if (mkdir(d->config.state_dir, 0700) < 0 && errno != EEXIST) {
            return err_set(err, errno, "cannot make %s: %s", d->config.state_dir, strerror(errno));
        }
        rc = make_machine(tool, machine, d->config.simulate, err);
        if (rc < 0) {
            return rc;
        }
    } else {
        log_info("using the simulated machine that is there: %s (remove it to make another)",
                 machine);
    }
    if (setenv("TANGRAM_SIM", machine, 1) < 0) {
        return err_set(err, ENOMEM, "out of memory");
    }
    d->is_simulated = true;
    free(d->config.driver);
    d->config.driver = xstrdup(d->sim_library);
    return 0;
}
