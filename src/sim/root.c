/* Formats as in NVIDIA's open kernel modules (nv-caps.c, nv-procfs.c) and the MIG user guide. */
#include "sim/root.h"
#include "base/buf.h"
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CAPS_MAJOR 234
#define NVIDIA_MAJOR 195
#define CAPS_GPUS 32

unsigned int root_gi_minor(uint32_t gpu, unsigned int gi)
{
    return 3 + 135 * gpu + 9 * gi;
}

unsigned int root_ci_minor(uint32_t gpu, unsigned int gi, unsigned int ci)
{
    return root_gi_minor(gpu, gi) + 1 + ci;
}

/* Makes the directories on the way to DIR/root/PATH; returns that path, owned by the caller. */
static char *place(const struct sim_machine *m, const char *path)
{
    char *full = xasprintf("%s/root/%s", m->dir, path);
    for (char *p = full + strlen(m->dir) + 1; (p = strchr(p, '/')); p++) {
        *p = '\0';
        (void)mkdir(full, 0755);
        *p = '/';
    }
    return full;
}

static int put(const struct sim_machine *m, const char *path, mode_t mode, const void *data,
               size_t len)
{
    CLEANUP(freep) char *full = place(m, path);
    CLEANUP(closep) int fd = open(full, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0 || write(fd, data, len) != (ssize_t)len || fchmod(fd, mode) != 0) {
        return -errno;
    }
    return 0;
}

static int put_text_at(const struct sim_machine *m, mode_t mode, const char *text,
                       const char *path_format, ...) __attribute__((format(printf, 4, 5)));

static int put_text_at(const struct sim_machine *m, mode_t mode, const char *text,
                       const char *path_format, ...)
{
    char path[256];
    va_list ap;
    va_start(ap, path_format);
    vsnprintf(path, sizeof(path), path_format, ap);
    va_end(ap);
    return put(m, path, mode, text, strlen(text));
}

static int put_cap(const struct sim_machine *m, unsigned int minor, mode_t mode, const char *path)
{
    char text[96];
    snprintf(text, sizeof(text), "DeviceFileMinor: %u\nDeviceFileMode: %u\nDeviceFileModify: 1\n",
             minor, (unsigned int)mode);
    return put(m, path, mode, text, strlen(text));
}

/* One instance's access file appears or goes with its directory. */
static void sync_access(const struct sim_machine *m, bool is_there, unsigned int minor,
                        const char *dir)
{
    CLEANUP(freep) char *file = xasprintf("%s/access", dir);
    CLEANUP(freep) char *full = xasprintf("%s/root/%s", m->dir, file);
    if (is_there && access(full, F_OK) != 0) {
        if (put_cap(m, minor, 0444, file) < 0) {
            (void)unlink(
                full); /* half a file on a full disk: rather none, and the next change tries */
        }
    } else if (!is_there) {
        (void)unlink(full);
        *strrchr(full, '/') = '\0';
        (void)rmdir(full);
    }
}

void root_sync(const struct sim_machine *m, uint32_t gpu, const struct sim_state *state)
{
    if (!m->file->has_root) {
        return;
    }
    for (unsigned int gi = 0; gi < SIM_MAX_GI; gi++) {
        char dir[128];
        const struct sim_gi *g = &state->gis[gi];
        for (unsigned int ci = 0; ci < SIM_MAX_CI; ci++) {
            snprintf(dir, sizeof(dir), "proc/driver/nvidia/capabilities/gpu%u/mig/gi%u/ci%u", gpu,
                     gi, ci);
            sync_access(m, g->is_used && g->cis[ci].is_used, root_ci_minor(gpu, gi, ci), dir);
        }
        snprintf(dir, sizeof(dir), "proc/driver/nvidia/capabilities/gpu%u/mig/gi%u", gpu, gi);
        sync_access(m, g->is_used, root_gi_minor(gpu, gi), dir);
    }
}

static int build_minors(const struct sim_machine *m)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(1 << 20);
    buf_adds(&b, "config 1\nmonitor 2\n");
    for (uint32_t gpu = 0; gpu < CAPS_GPUS; gpu++) {
        for (unsigned int gi = 0; gi < SIM_MAX_GI; gi++) {
            buf_addf(&b, "gpu%u/gi%u/access %u\n", gpu, gi, root_gi_minor(gpu, gi));
            for (unsigned int ci = 0; ci < SIM_MAX_CI; ci++) {
                buf_addf(&b, "gpu%u/gi%u/ci%u/access %u\n", gpu, gi, ci,
                         root_ci_minor(gpu, gi, ci));
            }
        }
    }
    return put(m, "proc/driver/nvidia-caps/mig-minors", 0444, b.data, b.len);
}

/* What the kernel says of the memory behind a PCI device, a line for each of 13 resources:
 * registers, the BAR that shows the GPU's memory, and a third one of 32 MiB (a capture of A100,
 * `lspci -vv`). */
static void add_resources(struct buf *b, const struct sim_model *model, uint32_t index)
{
    enum { MEMORY_32 = 0x40200, MEMORY_64 = 0x14220c, LINES = 13 };
    const uint64_t mib = 1 << 20;
    const uint64_t bar1_mib = (uint64_t)(model->bar1_mib > 0 ? model->bar1_mib : model->memory_mib);
    const struct {
        uint64_t start, size;
        unsigned int flags;
    } bars[LINES] = {
        [0] = {0xC0000000ULL + index * (16 * mib), 16 * mib, MEMORY_32},
        [1] = {0x10000000000ULL * (index + 1), bar1_mib * mib, MEMORY_64},
        [3] = {0x8000000000ULL + index * (32 * mib), 32 * mib, MEMORY_64},
    };
    for (int i = 0; i < LINES; i++) {
        uint64_t end = bars[i].size > 0 ? bars[i].start + bars[i].size - 1 : 0;
        buf_addf(b, "0x%016llx 0x%016llx 0x%016llx\n", (unsigned long long)bars[i].start,
                 (unsigned long long)end, (unsigned long long)bars[i].flags);
    }
}

/* The files of sysfs whose text is the same for every GPU of this computer. */
static int build_pci_fixed(const struct sim_machine *m, const char *bus)
{
    static const struct {
        const char *file, *text;
    } files[] = {{"vendor", "0x10de\n"}, {"class", "0x030200\n"}, {"subsystem_vendor", "0x10de\n"},
                 {"numa_node", "0\n"},   {"revision", "0xa1\n"},  {"enable", "1\n"},
                 {"irq", "64\n"},        {"boot_vga", "0\n"}};
    int r = 0;
    for (size_t i = 0; i < ARRAY_SIZE(files) && r == 0; i++) {
        r = put_text_at(m, 0444, files[i].text, "sys/bus/pci/devices/%s/%s", bus, files[i].file);
    }
    char cpus[32];
    snprintf(cpus, sizeof(cpus), "0-%ld\n", sysconf(_SC_NPROCESSORS_ONLN) - 1);
    return r ? r : put_text_at(m, 0444, cpus, "sys/bus/pci/devices/%s/local_cpulist", bus);
}

/* The driver's own folder has a link to each of its devices, and each device one to it. */
static int build_driver_links(const struct sim_machine *m, const char *bus)
{
    char path[96];
    CLEANUP(freep) char *to_device = xasprintf("../../devices/%s", bus);
    int r = put_text_at(m, 0200, "", "sys/bus/pci/drivers/nvidia/unbind");
    const struct {
        const char *format, *target;
    } links[] = {{"sys/bus/pci/drivers/nvidia/%s", to_device},
                 {"sys/bus/pci/devices/%s/driver", "../../drivers/nvidia"}};
    for (size_t i = 0; i < ARRAY_SIZE(links) && r == 0; i++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(path, sizeof(path), links[i].format, bus);
#pragma GCC diagnostic pop
        CLEANUP(freep) char *link = place(m, path);
        r = symlink(links[i].target, link) != 0 && errno != EEXIST ? -errno : 0;
    }
    return r;
}

static int build_pci(const struct sim_machine *m, const struct sim_model *model, uint32_t index,
                     const char *bus)
{
    unsigned int id = (unsigned int)model->pci_id;
    unsigned int subsystem = model->board.subsystem > 0 ? (unsigned int)model->board.subsystem : 0;
    CLEANUP(freep) char *device = xasprintf("0x%04x\n", id);
    CLEANUP(freep) char *subdevice = xasprintf("0x%04x\n", subsystem);
    CLEANUP(freep)
    char *uevent = xasprintf("DRIVER=nvidia\nPCI_CLASS=30200\nPCI_ID=10DE:%04X\n"
                             "PCI_SUBSYS_ID=10DE:%04X\nPCI_SLOT_NAME=%s\n",
                             id, subsystem, bus);
    CLEANUP(buf_done) struct buf resources = BUF_INIT(4096);
    add_resources(&resources, model, index);
    uint8_t config[4096] = {0xDE, 0x10, (uint8_t)id, (uint8_t)(id >> 8), 0x07, 0, 0x10, 0, 0xA1,
                            0,    0x02, 0x03};
    char path[96];
    snprintf(path, sizeof(path), "sys/bus/pci/devices/%s/config", bus);
    int r = put(m, path, 0644, config, sizeof(config));
    snprintf(path, sizeof(path), "sys/bus/pci/devices/%s/resource", bus);
    r = r ? r : put(m, path, 0444, resources.data, resources.len);
    r = r ? r : build_pci_fixed(m, bus);
    r = r ? r : put_text_at(m, 0444, device, "sys/bus/pci/devices/%s/device", bus);
    r = r ? r : put_text_at(m, 0444, subdevice, "sys/bus/pci/devices/%s/subsystem_device", bus);
    r = r ? r : put_text_at(m, 0444, uevent, "sys/bus/pci/devices/%s/uevent", bus);
    return r ? r : build_driver_links(m, bus);
}

static int build_gpu(const struct sim_machine *m, uint32_t index)
{
    const struct sim_gpu *gpu = &m->file->gpus[index];
    const struct sim_model *model = m->models[index];
    char bus[16];
    snprintf(bus, sizeof(bus), "0000:%02x:00.0", gpu->bus);
    CLEANUP(freep)
    char *info = xasprintf(
        "Model: \t\t %s\nIRQ:   \t\t %u\nGPU UUID: \t %s\nVideo BIOS: \t %s\n"
        "Bus Type: \t PCIe\nDMA Size: \t 52 bits\nDMA Mask: \t 0xfffffffffffff\n"
        "Bus Location: \t %s\nDevice Minor: \t %u\nGPU Firmware: \t %s\nGPU Excluded:\t No\n",
        model->name, 64 + index, gpu->uuid, sim_model_vbios(model), bus, gpu->minor,
        m->file->driver_version);
    int r = put_text_at(m, 0444, info, "proc/driver/nvidia/gpus/%s/information", bus);
    return r ? r : build_pci(m, model, index, bus);
}

/* The computer's own file with more lines in front. */
static int build_extended(const struct sim_machine *m, const char *path, const char *text)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(1 << 20);
    CLEANUP(freep) char *own = xasprintf("/%s", path);
    CLEANUP(closep) int fd = open(own, O_RDONLY | O_CLOEXEC);
    char chunk[4096];
    buf_adds(&b, text);
    for (ssize_t n; fd >= 0 && (n = read(fd, chunk, sizeof(chunk))) > 0;) {
        buf_add(&b, chunk, (size_t)n);
    }
    return put(m, path, 0444, b.data, b.len);
}

static int build_fixed(const struct sim_machine *m)
{
    CLEANUP(freep)
    char *version =
        xasprintf("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  %s  Release Build\n",
                  m->file->driver_version);
    CLEANUP(freep) char *module = xasprintf("nvidia 16789504 0 - Live 0x0000000000000000 (O)\n");
    int r = put_text_at(m, 0444, version, "proc/driver/nvidia/version");
    r = r ? r : put_text_at(m, 0444, "ModifyDeviceFiles: 1\n", "proc/driver/nvidia/params");
    r = r ? r : put_cap(m, 1, 0400, "proc/driver/nvidia/capabilities/mig/config");
    r = r ? r : put_cap(m, 2, 0444, "proc/driver/nvidia/capabilities/mig/monitor");
    r = r ? r : build_minors(m);
    r = r ? r : build_extended(m, "proc/modules", module);
    CLEANUP(freep)
    char *majors =
        xasprintf("Character devices:\n%3d nvidia\n%3d nvidia-caps\n\n", NVIDIA_MAJOR, CAPS_MAJOR);
    return r ? r : build_extended(m, "proc/devices", majors);
}

int root_build(struct sim_machine *m, struct error *err)
{
    int r = build_fixed(m);
    for (uint32_t i = 0; i < m->file->gpu_count && r == 0; i++) {
        r = build_gpu(m, i);
    }
    if (r < 0) {
        return err_set(err, -r, "cannot write below %s/root: %s", m->dir, strerror(-r));
    }
    __atomic_store_n(&m->file->has_root, 1, __ATOMIC_RELEASE);
    for (uint32_t i = 0; i < m->file->gpu_count; i++) {
        struct sim_gpu *gpu = &m->file->gpus[i];
        sim_lock(&gpu->state);
        root_sync(m, i, sim_gpu_state(gpu));
        sim_unlock(&gpu->state);
    }
    return 0;
}
