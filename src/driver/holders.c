/* Who holds an instance open although no process shows on it: monitors (DCGM, exporters) keep the
 * capability device nodes of MIG devices open, and the driver says IN_USE for as long.  Whoever has
 * such a node open is visible in /proc.
 *
 * Files: /proc/devices has the major number of nvidia-caps; the access file of the instance, below
 * /proc/driver/nvidia/capabilities, has the minor one ("DeviceFileMinor: 39"). */
#include "driver/holders.h"
#include "base/cleanup.h"
#include "base/text.h"
#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define NODES_MAX (MIG_MAX_COMPUTE + 1)

struct nodes {
    dev_t device[NODES_MAX];
    unsigned count;
};

static void close_dir(DIR **dir)
{
    if (*dir) {
        closedir(*dir);
    }
}

static void close_file(FILE **file)
{
    if (*file) {
        fclose(*file);
    }
}

static bool find_major(const char *driver_proc, unsigned *ret)
{
    char path[512], line[128], name[64];
    unsigned number = 0;

    snprintf(path, sizeof(path), "%s/devices", driver_proc);
    CLEANUP(close_file) FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof(line), file)) {
        /* NOLINTNEXTLINE(cert-err34-c): numbers that the kernel wrote */
        if (sscanf(line, "%u %63s", &number, name) == 2 && !strcmp(name, "nvidia-caps")) {
            *ret = number;
            return true;
        }
    }
    return false;
}

static void add_node(struct nodes *nodes, unsigned major_number, const char *path)
{
    char line[128];
    unsigned number = 0;
    CLEANUP(close_file) FILE *file = fopen(path, "re");

    while (file && fgets(line, sizeof(line), file)) {
        /* NOLINTNEXTLINE(cert-err34-c): numbers that the kernel wrote */
        if (sscanf(line, "DeviceFileMinor: %u", &number) == 1 && nodes->count < NODES_MAX) {
            nodes->device[nodes->count++] = makedev(major_number, number);
            return;
        }
    }
}

static void find_nodes(const char *driver_proc, uint32_t gpu_minor, uint32_t gi_id,
                       struct nodes *nodes)
{
    char path[512];
    unsigned major_number = 0;

    if (!find_major(driver_proc, &major_number)) {
        return;
    }
    snprintf(path, sizeof(path), "%s/driver/nvidia/capabilities/gpu%u/mig/gi%u/access", driver_proc,
             gpu_minor, gi_id);
    add_node(nodes, major_number, path);
    for (unsigned ci = 0; ci < MIG_MAX_COMPUTE; ci++) {
        snprintf(path, sizeof(path), "%s/driver/nvidia/capabilities/gpu%u/mig/gi%u/ci%u/access",
                 driver_proc, gpu_minor, gi_id, ci);
        add_node(nodes, major_number, path);
    }
}

/* Has the process one of the nodes open?  One that ended meanwhile has not. */
static bool has_open(const char *pid, const struct nodes *nodes)
{
    char path[64];
    struct dirent *entry = NULL;
    struct stat st;

    snprintf(path, sizeof(path), "/proc/%.20s/fd", pid);
    CLEANUP(close_dir) DIR *dir = opendir(path);
    while (dir && (entry = readdir(dir))) { /* NOLINT(concurrency-mt-unsafe): a stream of its own */
        if (fstatat(dirfd(dir), entry->d_name, &st, 0) < 0 || !S_ISCHR(st.st_mode)) {
            continue;
        }
        for (unsigned i = 0; i < nodes->count; i++) {
            if (st.st_rdev == nodes->device[i]) {
                return true;
            }
        }
    }
    return false;
}

uint32_t holders_find(const char *driver_proc, uint32_t gpu_minor, uint32_t gi_id, uint32_t *pids,
                      uint32_t max)
{
    struct nodes nodes = {0};
    struct dirent *entry = NULL;
    uint32_t count = 0;

    find_nodes(driver_proc, gpu_minor, gi_id, &nodes);
    CLEANUP(close_dir) DIR *dir = nodes.count ? opendir("/proc") : NULL;
    while (dir && count < max && (entry = readdir(dir))) { /* NOLINT(concurrency-mt-unsafe) */
        if (isdigit((unsigned char)entry->d_name[0]) && has_open(entry->d_name, &nodes)) {
            pids[count++] = (uint32_t)strtoul(entry->d_name, NULL, 10);
        }
    }
    return count;
}

void driver_name_pids(const struct driver_slice *slice, char *buf, size_t size)
{
    uint32_t shown = slice->pid_count < 4 ? slice->pid_count : 4;
    size_t at = 0;

    buf[0] = '\0';
    for (uint32_t i = 0; i < shown && at < size; i++) {
        char path[64], name[64] = "";
        snprintf(path, sizeof(path), "/proc/%u/comm", slice->pids[i]);
        CLEANUP(close_file) FILE *file = fopen(path, "re");
        if (file && fgets(name, sizeof(name), file)) {
            name[strcspn(name, "\n")] = '\0';
        }
        at += (size_t)snprintf(buf + at, size - at, "%spid %u%s%s%s", i ? ", " : "",
                               slice->pids[i], *name ? " (" : "", name, *name ? ")" : "");
    }
    if (slice->pid_count > shown && at < size) {
        snprintf(buf + at, size - at, " and %u more", slice->pid_count - shown);
    }
    text_mend_utf8(buf);
}
