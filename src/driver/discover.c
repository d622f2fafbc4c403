#include "base/text.h"
#include "driver/gpu.h"
#include <stdio.h>
#include <string.h>

/* What a GPU is: identity, mode, and the profiles with their placements, all as the driver states
 * them.  What it does not state stays unknown; only what the daemon cannot work without makes the
 * GPU unhealthy.
 *
 * Profile rows come in three versions of one struct; the newest that the library knows is used.
 * A library without the versioned call tells no names; then they are made as NVIDIA makes them,
 * from slices, memory rounded up to eighths of the GPU, and the suffix of the profile's number. */

/* One row, whatever version it came in. */
struct row {
    uint32_t enum_value, id, slices, instances, sms, capabilities;
    uint32_t copy, decoder, encoder, jpeg, ofa;
    uint64_t memory_mib;
    char name[96];
};

static nvml_return read_v3(struct gpu *gpu, uint32_t number, struct row *row)
{
    struct nvml_gi_profile_v3 in = {.version = NVML_VERSION(struct nvml_gi_profile_v3, 3)};
    nvml_return answer = GPU_CALL(gpu, gi_profile_v, gpu->device, number, &in);

    if (answer == NVML_SUCCESS) {
        *row = (struct row){number,          in.id,         in.slices,  in.instances, in.sms,
                            in.capabilities, in.copy,       in.decoder, in.encoder,   in.jpeg,
                            in.ofa,          in.memory_mib, ""};
        in.name[sizeof(in.name) - 1] = '\0';
        text_copy(row->name, sizeof(row->name), in.name);
    }
    return answer;
}

static nvml_return read_v2(struct gpu *gpu, uint32_t number, struct row *row)
{
    struct nvml_gi_profile_v2 in = {.version = NVML_VERSION(struct nvml_gi_profile_v2, 2)};
    nvml_return answer = GPU_CALL(gpu, gi_profile_v, gpu->device, number, &in);

    if (answer == NVML_SUCCESS) {
        *row = (struct row){
            number,  in.id,      in.slices,  in.instances, in.sms, in.is_p2p ? MIG_CAP_P2P : 0,
            in.copy, in.decoder, in.encoder, in.jpeg,      in.ofa, in.memory_mib,
            ""};
        in.name[sizeof(in.name) - 1] = '\0';
        text_copy(row->name, sizeof(row->name), in.name);
    }
    return answer;
}

static nvml_return read_v1(struct gpu *gpu, uint32_t number, struct row *row)
{
    struct nvml_gi_profile_v1 in = {0};
    nvml_return answer = GPU_CALL(gpu, gi_profile, gpu->device, number, &in);

    if (answer == NVML_SUCCESS) {
        *row = (struct row){
            number,  in.id,      in.slices,  in.instances, in.sms, in.is_p2p ? MIG_CAP_P2P : 0,
            in.copy, in.decoder, in.encoder, in.jpeg,      in.ofa, in.memory_mib,
            ""};
    }
    return answer;
}

/* Reads all rows into rows[].  An answer that only means "no such row" or "not in this mode" ends
 * in fewer rows; anything else is an error. */
static int read_rows(struct gpu *gpu, struct row rows[NVML_GI_PROFILES], uint32_t *ret_count,
                     struct driver_result *result)
{
    static nvml_return (*const readers[])(struct gpu *, uint32_t, struct row *) = {read_v3, read_v2,
                                                                                   read_v1};
    size_t first = 0, end = ARRAY_SIZE(readers);
    uint32_t count = 0;

    for (uint32_t number = 0; number < NVML_GI_PROFILES; number++) {
        nvml_return answer = NVML_ERROR_NOT_SUPPORTED;
        size_t at = first;
        for (; at < end; at++) {
            answer = readers[at](gpu, number, &rows[count]);
            if (answer != NVML_ERROR_INVALID_ARGUMENT && answer != NVML_ERROR_FUNCTION_NOT_FOUND &&
                answer != NVML_ERROR_ARGUMENT_VERSION_MISMATCH) {
                break;
            }
        }
        if (answer == NVML_SUCCESS) {
            first = at; /* the version is known now: a bad argument is the end of the table */
            end = at + 1;
            count++;
        } else if (answer == NVML_ERROR_INVALID_ARGUMENT) {
            break;
        } else if (!gpu_is_silent(answer) && answer != NVML_ERROR_ARGUMENT_VERSION_MISMATCH) {
            return gpu_fail(result, answer, "The MIG profiles of GPU %u cannot be read",
                            gpu->index);
        }
    }
    *ret_count = count;
    return 0;
}

static void remember_rows(struct gpu *gpu, const struct row *rows, uint32_t count)
{
    gpu->profile_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        gpu->profiles[gpu->profile_count++] = (struct gpu_profile){
            .id = rows[i].id,
            .slices = (uint8_t)rows[i].slices,
        };
    }
}

int gpu_need_profiles(struct gpu *gpu, struct driver_result *result)
{
    struct row rows[NVML_GI_PROFILES];
    uint32_t count = 0;
    int r = 0;

    if (gpu->profile_count == 0) {
        r = read_rows(gpu, rows, &count, result);
        remember_rows(gpu, rows, r == 0 ? count : 0);
    }
    return r;
}

/* ---- the geometry ---- */

/* "1g.10gb+me": what NVIDIA calls it, from a row without a name. */
static void make_name(const struct row *row, uint64_t total_mib, char *name, size_t size)
{
    static const char *const suffix[] = {
        [7] = "+me",  [8] = "+me",  [10] = "+gfx",    [11] = "+gfx",    [12] = "+gfx",
        [13] = "-me", [14] = "-me", [15] = "+me.all", [16] = "+me.all", [17] = "+gfx"};
    const char *tail = row->enum_value < ARRAY_SIZE(suffix) ? suffix[row->enum_value] : NULL;
    uint64_t gib = (row->memory_mib + 1023) / 1024;

    if (total_mib) {
        uint64_t eighths = (row->memory_mib * 8 + total_mib - 1) / total_mib;
        gib = (eighths * ((total_mib + 1023) / 1024) + 4) / 8;
    }
    snprintf(name, size, "%ug.%llugb%s", row->slices, (unsigned long long)gib, tail ? tail : "");
}

/* The driver tells a slice's compute profiles only where such a slice stands, so until then these
 * are NVIDIA's documented ones.  Nothing is cut by their ids: jobs say compute slices and the
 * worker asks the driver inside the new instance. */
static void derive_compute(struct mig_profile *profile, uint32_t one_slice_sms)
{
    static const uint8_t slices[] = {1, 2, 3, 4};
    static const uint8_t full_numbers[] = {0, 1, 2, 3, 0, 6, 4, 5}; /* by slices - 1 */

    for (size_t i = 0; i < ARRAY_SIZE(slices); i++) {
        uint8_t n = slices[i];
        if (n >= profile->slices || (n == 3 && profile->slices == 4)) {
            continue;
        }
        struct mig_compute_profile *ci = &profile->compute[profile->compute_count++];
        ci->enum_value = (int)i;
        ci->id = (uint32_t)i;
        ci->slices = n;
        ci->max_count = (uint8_t)(profile->slices / n);
        ci->sm_count = n * one_slice_sms;
        ci->name[0] = (char)('0' + n);
        ci->name[1] = 'c';
        ci->name[2] = '.';
        text_copy(ci->name + 3, sizeof(ci->name) - 3, profile->name);
    }
    struct mig_compute_profile *full = &profile->compute[profile->compute_count++];
    size_t at = profile->slices ? profile->slices - 1u : 0;
    full->enum_value = at < ARRAY_SIZE(full_numbers) ? full_numbers[at] : 0;
    full->id = (uint32_t)full->enum_value;
    full->slices = profile->slices;
    full->max_count = 1;
    full->sm_count = profile->sm_count;
    text_copy(full->name, sizeof(full->name), profile->name);
}

/* The placements; false if the driver tells none for this profile. */
static bool read_placements(struct gpu *gpu, struct mig_profile *profile)
{
    struct nvml_placement places[GPU_MAX_LIST];
    uint32_t count = 0;

    if (GPU_CALL(gpu, gi_placements, gpu->device, profile->id, NULL, &count) != NVML_SUCCESS ||
        count == 0 || count > GPU_MAX_LIST) {
        return false;
    }
    memset(places, 0, sizeof(places));
    if (GPU_CALL(gpu, gi_placements, gpu->device, profile->id, places, &count) != NVML_SUCCESS ||
        count == 0 || count > GPU_MAX_LIST) {
        return false;
    }
    profile->size = (uint8_t)(places[0].size > UINT8_MAX ? UINT8_MAX : places[0].size);
    for (uint32_t i = 0; i < count; i++) {
        if (places[i].size == places[0].size && places[i].start < MIG_SLOTS_MAX &&
            profile->start_count < MIG_SLOTS_MAX) {
            profile->starts[profile->start_count++] = (uint8_t)places[i].start;
        }
    }
    return profile->start_count > 0;
}

static void fill_profile(struct mig_profile *profile, const struct row *row, uint64_t total_mib)
{
    const char *name = strncmp(row->name, "MIG ", 4) == 0 ? row->name + 4 : row->name;

    profile->enum_value = (int)row->enum_value;
    profile->id = row->id;
    profile->sm_count = row->sms;
    profile->memory_mib = (uint32_t)row->memory_mib;
    profile->capabilities = row->capabilities;
    profile->slices = (uint8_t)row->slices;
    profile->max_count = (uint8_t)row->instances;
    profile->engines[MIG_ENGINE_COPY] = (uint16_t)row->copy;
    profile->engines[MIG_ENGINE_DECODER] = (uint16_t)row->decoder;
    profile->engines[MIG_ENGINE_ENCODER] = (uint16_t)row->encoder;
    profile->engines[MIG_ENGINE_JPEG] = (uint16_t)row->jpeg;
    profile->engines[MIG_ENGINE_OFA] = (uint16_t)row->ofa;
    text_copy(profile->name, sizeof(profile->name), name);
    if (!name[0]) {
        make_name(row, total_mib, profile->name, sizeof(profile->name));
    }
}

static void read_geometry(struct gpu *gpu, const struct row *rows, uint32_t count,
                          struct gpu_discovery *found)
{
    struct mig_geometry *geometry = &found->geometry;
    uint32_t one_slice_sms = 0;
    struct error err = {0};

    for (uint32_t i = 0; i < count; i++) {
        if (rows[i].slices == 1 && (one_slice_sms == 0 || rows[i].sms < one_slice_sms)) {
            one_slice_sms = rows[i].sms;
        }
    }
    for (uint32_t i = 0; i < count && geometry->profile_count < MIG_PROFILES_MAX; i++) {
        struct mig_profile *profile = &geometry->profiles[geometry->profile_count];
        fill_profile(profile, &rows[i], found->info.memory_mib);
        if (read_placements(gpu, profile)) {
            derive_compute(profile, one_slice_sms);
            geometry->profile_count++;
        } else {
            memset(profile, 0, sizeof(*profile)); /* it can never be cut */
        }
    }
    if (geometry->profile_count == 0) {
        return;
    }
    if (mig_geometry_init(geometry, &err) == 0) {
        found->info.has_geometry = true;
    } else {
        snprintf(found->info.reason, sizeof(found->info.reason), "%.*s",
                 (int)sizeof(found->info.reason) - 1, err.msg);
        found->info.is_healthy = false;
    }
}

/* ---- the GPU ---- */

static int find_handle(struct gpu *gpu, struct mig_gpu_info *info, struct driver_result *result)
{
    nvml_device device = NULL;
    nvml_return answer = GPU_CALL(gpu, by_index, gpu->index, &device);

    if (answer != NVML_SUCCESS) {
        return gpu_fail(result, answer, "GPU %u cannot be opened", gpu->index);
    }
    answer = GPU_CALL(gpu, uuid, device, info->uuid, sizeof(info->uuid));
    info->uuid[sizeof(info->uuid) - 1] = '\0';
    if (answer != NVML_SUCCESS || !info->uuid[0]) {
        return gpu_fail(result, answer ? answer : NVML_ERROR_UNKNOWN,
                        "GPU %u does not tell its UUID", gpu->index);
    }
    gpu->device = device;
    text_copy(gpu->uuid, sizeof(gpu->uuid), info->uuid);
    return 0;
}

static void read_identity(struct gpu *gpu, struct mig_gpu_info *info)
{
    struct nvml_pci pci = {0};
    struct nvml_memory memory = {0};
    uint32_t architecture = 0;

    if (GPU_CALL(gpu, name, gpu->device, info->name, sizeof(info->name)) != NVML_SUCCESS) {
        info->name[0] = '\0';
    }
    info->name[sizeof(info->name) - 1] = '\0';
    if (GPU_CALL(gpu, pci_info, gpu->device, &pci) == NVML_SUCCESS) {
        pci.bus_id[sizeof(pci.bus_id) - 1] = '\0';
        text_copy(info->pci, sizeof(info->pci), pci.bus_id);
        text_copy(gpu->pci, sizeof(gpu->pci), pci.bus_id);
        info->pci_device_id = pci.device_id;
    }
    if (GPU_CALL(gpu, minor, gpu->device, &info->minor) != NVML_SUCCESS) {
        info->minor = MIG_NO_ID;
    }
    gpu->minor = info->minor;
    if (GPU_CALL(gpu, architecture, gpu->device, &architecture) == NVML_SUCCESS &&
        architecture != NVML_ARCH_UNKNOWN) {
        info->architecture = gpu->architecture = architecture;
    }
    if (GPU_CALL(gpu, memory, gpu->device, &memory) == NVML_SUCCESS) {
        info->memory_mib = memory.total >> 20;
    }
}

static int read_mode(struct gpu *gpu, struct mig_gpu_info *info, struct driver_result *result)
{
    struct nvml_field field = {.field = NVML_FI_RESETLESS_MIG};
    int r = gpu_get_mode(gpu, &info->is_mig_enabled, &info->is_mig_pending, result);

    info->is_mig_capable = gpu->is_mig_capable;
    if (r < 0 || !gpu->is_mig_capable) {
        return r;
    }
    if (GPU_CALL(gpu, fields, gpu->device, 1, &field) == NVML_SUCCESS &&
        field.code == NVML_SUCCESS) {
        info->is_resetless = field.value.u == 1;
    } else {
        info->is_resetless = info->architecture >= MIG_ARCH_HOPPER;
    }
    return 0;
}

void gpu_discover(struct gpu *gpu, struct gpu_discovery *found, struct driver_result *result)
{
    struct mig_gpu_info *info = &found->info;
    struct row rows[NVML_GI_PROFILES];
    uint32_t count = 0;

    *info = (struct mig_gpu_info){.index = gpu->index, .minor = MIG_NO_ID};
    memset(&found->geometry, 0, sizeof(found->geometry));
    gpu_forget_mig_devices(gpu);
    if (find_handle(gpu, info, result) < 0) {
        goto unhealthy;
    }
    read_identity(gpu, info);
    if (read_mode(gpu, info, result) < 0) {
        goto unhealthy;
    }
    info->is_healthy = true;
    if (!info->is_mig_capable) {
        return;
    }
    if (read_rows(gpu, rows, &count, result) < 0) {
        goto unhealthy;
    }
    remember_rows(gpu, rows, count);
    read_geometry(gpu, rows, count, found);
    if (!info->is_healthy) {
        gpu_refuse(result, EPROTO, "GPU %u cannot be used: %s", gpu->index, info->reason);
    }
    return;
unhealthy:
    info->is_healthy = false;
    text_copy(info->reason, sizeof(info->reason), result->message);
}

int gpu_reopen(struct gpu *gpu, struct driver_result *result)
{
    nvml_device device = NULL;
    char uuid[MIG_UUID_SIZE] = "";
    nvml_return answer = NVML_ERROR_NOT_FOUND;

    if (gpu->pci[0]) {
        answer = GPU_CALL(gpu, by_pci, gpu->pci, &device);
    }
    if (answer != NVML_SUCCESS) {
        answer = GPU_CALL(gpu, by_index, gpu->index, &device);
    }
    if (answer == NVML_SUCCESS) {
        answer = GPU_CALL(gpu, uuid, device, uuid, sizeof(uuid));
    }
    if (answer != NVML_SUCCESS) {
        return gpu_fail(result, answer, "GPU %u cannot be opened again", gpu->index);
    }
    if (strncmp(uuid, gpu->uuid, sizeof(uuid)) != 0) {
        return gpu_refuse(result, ENODEV, "At the place of GPU %u (%s) there is now another one.",
                          gpu->index, gpu->uuid);
    }
    gpu->device = device;
    return 0;
}
