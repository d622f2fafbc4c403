/* Shows a machine's surroundings to one program, in a mount namespace of its own: nothing is
 * changed for anybody else, and everything is gone when the program ends.  An ordinary user gets
 * a user namespace with his own id for it. */
#include "sim/root.h"
#include "sim/tool.h"
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static int write_file(const char *path, const char *text)
{
    CLEANUP(closep) int fd = open(path, O_WRONLY | O_CLOEXEC);
    return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) ? 0 : -errno;
}

static int enter_namespace(void)
{
    uid_t uid = geteuid();
    gid_t gid = getegid();
    if (unshare(CLONE_NEWNS | (uid == 0 ? 0 : CLONE_NEWUSER)) != 0) {
        return tool_fail(TOOL_FAILED, "no mount namespace: %s", strerror(errno));
    }
    if (uid != 0) {
        char map[64];
        write_file("/proc/self/setgroups", "deny");
        snprintf(map, sizeof(map), "%u %u 1\n", gid, gid);
        write_file("/proc/self/gid_map", map);
        snprintf(map, sizeof(map), "%u %u 1\n", uid, uid);
        if (write_file("/proc/self/uid_map", map) < 0) {
            return tool_fail(TOOL_FAILED, "no user namespace: %s", strerror(errno));
        }
    }
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) {
        return tool_fail(TOOL_FAILED, "cannot make mounts private: %s", strerror(errno));
    }
    return TOOL_OK;
}

/* Binds DIR/root/PATH over /PATH, or over the nearest parent that exists.  Never over the whole of
 * /proc or /sys, which programs need: where the kernel has no modules, /proc/modules stays away. */
static int show(const struct sim_machine *m, const char *path)
{
    char part[PATH_MAX];
    snprintf(part, sizeof(part), "%s", path);
    for (;;) {
        CLEANUP(freep) char *from = xasprintf("%s/root/%s", m->dir, part);
        CLEANUP(freep) char *to = xasprintf("/%s", part);
        if (access(to, F_OK) == 0) {
            if (mount(from, to, NULL, MS_BIND | MS_REC, NULL) == 0) {
                return TOOL_OK;
            }
            return tool_fail(TOOL_FAILED, "cannot show %s: %s", to, strerror(errno));
        }
        char *slash = strrchr(part, '/');
        if (!slash || strchr(part, '/') == slash) {
            return TOOL_OK;
        }
        *slash = '\0';
    }
}

static void touch(const char *path, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, mode);
    closep(&fd);
}

/* Takes one entry of the real /dev over into `dir`. */
static void keep_device(const char *dir, const char *name)
{
    CLEANUP(freep) char *from = xasprintf("/dev/%s", name);
    CLEANUP(freep) char *to = xasprintf("%s/%s", dir, name);
    struct stat st;
    if (lstat(from, &st) != 0) {
        return;
    }
    if (S_ISLNK(st.st_mode)) {
        char target[PATH_MAX] = "";
        if (readlink(from, target, sizeof(target) - 1) > 0) {
            (void)!symlink(target, to);
        }
        return;
    }
    if (S_ISDIR(st.st_mode)) {
        (void)mkdir(to, 0755);
    } else {
        touch(to, 0644);
    }
    (void)mount(from, to, NULL, MS_BIND | MS_REC, NULL);
}

/* A character device; inside a user namespace, where that is not allowed, a plain file. */
static void make_device(const char *dir, mode_t mode, unsigned int major_, unsigned int minor_,
                        const char *format, unsigned int number)
{
    char name[64];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(name, sizeof(name), format, number);
#pragma GCC diagnostic pop
    CLEANUP(freep) char *path = xasprintf("%s/%s", dir, name);
    if (mknod(path, S_IFCHR | mode, makedev(major_, minor_)) != 0) {
        touch(path, mode);
    }
    (void)chmod(path, mode);
}

static void make_devices(const struct sim_machine *m, const char *dir)
{
    enum { NVIDIA_MAJOR = 195, CAPS_MAJOR = 234, UVM_MAJOR = 235 };
    CLEANUP(freep) char *caps = xasprintf("%s/nvidia-caps", dir);
    (void)mkdir(caps, 0755);
    make_device(dir, 0666, NVIDIA_MAJOR, 255, "nvidiactl", 0);
    make_device(dir, 0666, UVM_MAJOR, 0, "nvidia-uvm", 0);
    make_device(caps, 0400, CAPS_MAJOR, 1, "nvidia-cap1", 1);
    make_device(caps, 0444, CAPS_MAJOR, 2, "nvidia-cap2", 2);
    for (uint32_t gpu = 0; gpu < m->file->gpu_count; gpu++) {
        make_device(dir, 0666, NVIDIA_MAJOR, gpu, "nvidia%u", gpu);
        for (unsigned int minor_ = root_gi_minor(gpu, 0); minor_ < root_gi_minor(gpu + 1, 0);
             minor_++) {
            make_device(caps, 0444, CAPS_MAJOR, minor_, "nvidia-cap%u", minor_);
        }
    }
}

/* A /dev that has what was there and the GPUs. */
static int show_devices(const struct sim_machine *m)
{
    char dir[] = "/tmp/tangram-dev-XXXXXX";
    if (!mkdtemp(dir) || mount("tmpfs", dir, "tmpfs", MS_NOSUID, "mode=755") != 0) {
        return tool_fail(TOOL_FAILED, "no private /dev: %s", strerror(errno));
    }
    DIR *old = opendir("/dev");
    for (struct dirent *e; old && (e = readdir(old));) {
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) {
            keep_device(dir, e->d_name);
        }
    }
    if (old) {
        closedir(old);
    }
    make_devices(m, dir);
    if (mount(dir, "/dev", NULL, MS_MOVE, NULL) != 0) {
        /* Where the temporary directory is on a shared mount, a move is refused. */
        if (mount(dir, "/dev", NULL, MS_BIND | MS_REC, NULL) != 0) {
            return tool_fail(TOOL_FAILED, "no private /dev: %s", strerror(errno));
        }
    }
    (void)rmdir(dir);
    return TOOL_OK;
}

int tool_shell(int argc, char **argv)
{
    int command = argc > 2 && strcmp(argv[2], "--") == 0 ? 3 : 2;
    CLEANUP(sim_machine_freep) struct sim_machine *m = tool_open(argc > 1 ? argv[1] : NULL);
    if (!m) {
        return TOOL_FAILED;
    }
    CLEANUP(freep) char *dir = realpath(m->dir, NULL);
    CLEANUP(freep) char *lib = tool_library_dir();
    const char *path = getenv("LD_LIBRARY_PATH");
    CLEANUP(freep) char *search = path && path[0] ? xasprintf("%s:%s", lib, path) : xstrdup(lib);
    setenv("TANGRAM_SIM", dir, 1);
    setenv("LD_LIBRARY_PATH", search, 1);
    struct error err = {0};
    if (root_build(m, &err) < 0) {
        return tool_fail(TOOL_FAILED, "%s", err.msg);
    }
    free(m->dir);
    m->dir = TAKE_PTR(dir);
    int r = enter_namespace();
    static const char *const paths[] = {"proc/driver", "proc/modules", "proc/devices",
                                        "sys/bus/pci/devices", "sys/bus/pci/drivers"};
    for (size_t i = 0; i < ARRAY_SIZE(paths) && r == TOOL_OK; i++) {
        r = show(m, paths[i]);
    }
    r = r == TOOL_OK ? show_devices(m) : r;
    if (r != TOOL_OK) {
        return r;
    }
    char *const shell[] = {getenv("SHELL") ? getenv("SHELL") : (char *)"/bin/sh", NULL};
    char *const *run = command < argc ? argv + command : shell;
    execvp(run[0], run);
    return tool_fail(TOOL_FAILED, "cannot run %s: %s", run[0], strerror(errno));
}
