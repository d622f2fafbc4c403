#include "cli/procs.h"
#include "base/cleanup.h"
#include "base/text.h"
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void close_dir(DIR **dir)
{
    if (*dir) {
        closedir(*dir);
    }
}

/* A file of a process, as text; NUL bytes stay. */
static ssize_t read_file(const char *proc, pid_t pid, const char *name, char *buf, size_t size)
{
    CLEANUP(freep) char *path = xasprintf("%s/%d/%s", proc, (int)pid, name);
    CLEANUP(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, buf, size - 1);

    buf[n > 0 ? n : 0] = '\0';
    return n;
}

static void read_name(const char *proc, pid_t pid, char *ret, size_t size)
{
    read_file(proc, pid, "comm", ret, size);
    ret[strcspn(ret, "\n")] = '\0';
}

/* The next process of an open /proc; 0 at its end. */
static pid_t next_process(DIR *dir)
{
    struct dirent *entry = NULL;
    int64_t pid = 0;

    while (dir && (entry = readdir(dir)) != NULL) {
        if (text_parse_int(entry->d_name, "", 1, INT_MAX, &pid, NULL) == 0) {
            return (pid_t)pid;
        }
    }
    return 0;
}

/* "nvidia0" for /dev/nvidia0; NULL for all else (nvidiactl, nvidia-uvm ...). */
static const char *gpu_device(const char *target)
{
    static const char before[] = "/dev/";
    const char *name = target + strlen(before);

    if (strncmp(target, before, strlen(before)) != 0 || strncmp(name, "nvidia", 6) != 0) {
        return NULL;
    }
    return name[6] && !name[6 + strspn(name + 6, "0123456789")] ? name : NULL;
}

static size_t add_holder(struct proc_holder *list, size_t count, size_t max, pid_t pid,
                         const char *name, const char *device)
{
    for (size_t i = 0; i < count; i++) {
        if (list[i].pid == pid && !strcmp(list[i].device, device)) {
            return count;
        }
    }
    if (count < max) {
        list[count].pid = pid;
        text_copy(list[count].name, sizeof(list[count].name), name);
        text_copy(list[count].device, sizeof(list[count].device), device);
        count++;
    }
    return count;
}

size_t procs_find_holders(const char *proc, struct proc_holder *ret, size_t max)
{
    CLEANUP(close_dir) DIR *dir = opendir(proc);
    size_t count = 0;
    pid_t pid = 0;

    while (dir && (pid = next_process(dir)) != 0) {
        CLEANUP(freep) char *path = xasprintf("%s/%d/fd", proc, (int)pid);
        CLEANUP(close_dir) DIR *fds = opendir(path);
        struct dirent *entry = NULL;
        char name[32] = "", target[64];
        read_name(proc, pid, name, sizeof(name));
        while (fds && strcmp(name, "tangramd") != 0 && (entry = readdir(fds)) != NULL) {
            ssize_t n = readlinkat(dirfd(fds), entry->d_name, target, sizeof(target) - 1);
            target[n > 0 ? n : 0] = '\0';
            const char *device = gpu_device(target);
            count = device ? add_holder(ret, count, max, pid, name, device) : count;
        }
    }
    return count;
}

/* The value of --socket on a command line of NUL-ended words. */
static void find_socket(const char *words, size_t len, char *ret, size_t size)
{
    *ret = '\0';
    for (const char *w = words; w < words + len; w += strlen(w) + 1) {
        if (!strncmp(w, "--socket=", 9)) {
            text_copy(ret, size, w + 9);
        } else if (!strcmp(w, "--socket") && w + 9 < words + len) {
            text_copy(ret, size, w + 9);
        }
    }
}

pid_t procs_find_daemon(const char *proc, char *ret_socket, size_t size)
{
    CLEANUP(close_dir) DIR *dir = opendir(proc);
    pid_t pid = 0;

    while (dir && (pid = next_process(dir)) != 0) {
        char name[32] = "", words[4096];
        read_name(proc, pid, name, sizeof(name));
        if (!strcmp(name, "tangramd")) {
            ssize_t n = read_file(proc, pid, "cmdline", words, sizeof(words));
            find_socket(words, n > 0 ? (size_t)n : 0, ret_socket, size);
            return pid;
        }
    }
    *ret_socket = '\0';
    return 0;
}
