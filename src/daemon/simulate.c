/* The embedded machine of --simulate: made once below the state directory by tangram-sim, kept
 * between starts, and seen through our own libnvidia-ml.so.1. */
#include "base/buf.h"
#include "base/log.h"
#include "base/path.h"
#include "base/text.h"
#include "daemon/daemon.h"
#include <fcntl.h>
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

/* What the tool says on its standard error, in one line without its name. */
static void read_complaint(int fd, struct buf *ret)
{
    static const char name[] = "tangram-sim: ";
    char text[1024];
    size_t len = 0;

    for (ssize_t n = 1; n > 0;) {
        char rest[256]; /* read to the end, so that the tool need not wait for us */
        bool has_room = len + 1 < sizeof(text);
        n = has_room ? read(fd, text + len, sizeof(text) - 1 - len) : read(fd, rest, sizeof(rest));
        len += n > 0 && has_room ? (size_t)n : 0;
    }
    text[len] = '\0';
    text[strcspn(text, "\n")] = '\0';
    text_add_escaped(ret, strncmp(text, name, sizeof(name) - 1) ? text : text + sizeof(name) - 1);
}

static int run_tool(const char *tool, const char *const *argv, struct buf *complaint,
                    struct error *err)
{
    posix_spawn_file_actions_t actions;
    int pipes[2], status = 0;
    pid_t pid = 0;

    if (pipe2(pipes, O_CLOEXEC) < 0) {
        return err_set(err, errno, "cannot make a pipe: %s", strerror(errno));
    }
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, pipes[1], STDERR_FILENO);
    int rc = posix_spawn(&pid, tool, &actions, NULL, (char *const *)(uintptr_t)argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(pipes[1]);
    if (rc == 0) {
        read_complaint(pipes[0], complaint);
    }
    close(pipes[0]);
    if (rc != 0) {
        return err_set(err, rc, "cannot run %s: %s", tool, strerror(rc));
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EINVAL;
}

/* tangram-sim create DIR --gpu A:2 --gpu B --latency typical; without a folder it
 * is only checked. */
static int make_machine(const struct daemon_config *c, const char *folder, const char *dir,
                        struct error *err)
{
    char tool[PATH_MAX];
    const char *argv[2 * GPU_SPECS_MAX + 8] = {tool, "create", dir ? dir : "--check", "--latency",
                                               "typical"};
    const char *where = c->simulate_place ? c->simulate_place : "--simulate";
    CLEANUP(buf_done) struct buf complaint = BUF_INIT(8192);
    CLEANUP(freep) char *specs = xstrdup(c->simulate);
    char *save = NULL;
    size_t n = 5;

    snprintf(tool, sizeof(tool), "%.4000s/tangram-sim", folder);
    for (char *s = strtok_r(specs, ",", &save); s; s = strtok_r(NULL, ",", &save)) {
        if (n + 3 > ARRAY_SIZE(argv)) {
            return err_set(err, E2BIG, "%s: takes %d models at most", where, GPU_SPECS_MAX);
        }
        argv[n++] = "--gpu";
        argv[n++] = s;
    }
    int rc = run_tool(tool, argv, &complaint, err);
    if (rc == -EINVAL) {
        return err_set(err, EINVAL, "%s: %s", where,
                       complaint.len ? complaint.data : "tangram-sim failed and did not say why");
    }
    return rc;
}

int simulate_check(const struct daemon_config *config, struct error *err)
{
    char folder[PATH_MAX];
    int rc = own_folder(folder, err);

    return rc < 0 ? rc : make_machine(config, folder, NULL, err);
}

int simulate_prepare(struct daemon *d, struct error *err)
{
    char folder[PATH_MAX];
    CLEANUP(freep) char *machine = xasprintf("%s/machine", d->config.state_dir);
    struct stat st;
    int rc = own_folder(folder, err);

    rc = rc < 0 ? rc : find_library(folder, d->sim_library, err);
    if (rc < 0) {
        return rc;
    }
    if (stat(machine, &st) < 0) {
        rc = path_make_parents(d->config.state_dir, err);
        if (rc == 0 && mkdir(d->config.state_dir, 0700) < 0 && errno != EEXIST) {
            return err_set(err, errno, "cannot make %s: %s", d->config.state_dir, strerror(errno));
        }
        rc = rc < 0 ? rc : make_machine(&d->config, folder, machine, err);
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
