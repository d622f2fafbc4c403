/* NVLink.  All links of an SXM board lead to the switches of its baseboard and are up, as fabric
 * manager leaves them; those of a card lead to a bridge that nobody has plugged in.  Where a
 * model's links are not known, and while MIG is on, everything here is NOT_SUPPORTED.  No program
 * uses them: every counter stays 0.
 *
 * A link that the GPU does not have is INVALID_ARGUMENT, but not to the question for what it can do
 * (both measured on B200, where programs stumbled over it).  Nor to where it leads: nvidia-smi's
 * `topo -m` asks A100 for the 18 links of Hopper, and ends at any answer but NOT_SUPPORTED. */
#include "sim/answer.h"
#include "sim/nvml.h"
#include <stdio.h>

enum {
    MOST_LINKS = 36, /* of any GPU, NVML_NVLINK_MAX_LINKS */
    ERROR_COUNTERS = 5,
    SWITCH_BUS = 0xC0, /* and up; no GPU has these (machine.c) */
};

int64_t nvlink_count(const struct call *c)
{
    int links = c->model->board.nvlink_links;
    return links >= 0 && !c->state->mig_mode ? links : ANSWER_NONE;
}

bool nvlink_is_up(const struct call *c)
{
    return nvlink_count(c) > 0 && c->model->board.nvlink_switches > 0;
}

/* Begins a call about a link: of any GPU, or of this one. */
static enum nvml_return begin(struct call *c, const char *name, struct nvml_device *device,
                              unsigned int link, bool is_any)
{
    enum nvml_return rc = call_device(c, name, device, CALL_GPU);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    int64_t links = nvlink_count(c);
    if (links <= 0) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    return link < (is_any ? MOST_LINKS : links) ? NVML_SUCCESS : NVML_ERROR_INVALID_ARGUMENT;
}

/* One number of a link; `counter` where there are several. */
typedef int64_t link_value(const struct call *c, unsigned int counter);

static enum nvml_return answer_link(const char *name, struct nvml_device *device, unsigned int link,
                                    unsigned int counter, link_value *value, unsigned int *ret)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = begin(&c, name, device, link, false);
    if (rc == NVML_SUCCESS && !ret) {
        rc = NVML_ERROR_INVALID_ARGUMENT;
    }
    int64_t v = rc == NVML_SUCCESS ? value(&c, counter) : 0;
    if (v == ANSWER_NONE) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    if (rc == NVML_SUCCESS) {
        *ret = (unsigned int)v;
    }
    return rc;
}

static int64_t link_state(const struct call *c, unsigned int counter)
{
    (void)counter;
    return nvlink_is_up(c);
}

static int64_t link_version(const struct call *c, unsigned int counter)
{
    (void)counter;
    return c->model->board.nvlink_version;
}

static int64_t link_remote_type(const struct call *c, unsigned int counter)
{
    enum { TYPE_SWITCH = 2, TYPE_UNKNOWN = 0xFF };
    (void)counter;
    return nvlink_is_up(c) ? TYPE_SWITCH : TYPE_UNKNOWN;
}

enum nvml_return nvmlDeviceGetNvLinkState(struct nvml_device *device, unsigned int link,
                                          unsigned int *ret)
{
    return answer_link(__func__, device, link, 0, link_state, ret);
}

enum nvml_return nvmlDeviceGetNvLinkVersion(struct nvml_device *device, unsigned int link,
                                            unsigned int *ret)
{
    return answer_link(__func__, device, link, 0, link_version, ret);
}

enum nvml_return nvmlDeviceGetNvLinkRemoteDeviceType(struct nvml_device *device, unsigned int link,
                                                     unsigned int *ret)
{
    return answer_link(__func__, device, link, 0, link_remote_type, ret);
}

/* The memory of peers and of the host, with atomics; SLI is for cards with a display. */
enum nvml_return nvmlDeviceGetNvLinkCapability(struct nvml_device *device, unsigned int link,
                                               unsigned int capability, unsigned int *ret)
{
    enum { CAPABILITY_SLI = 4, CAPABILITY_COUNT = 6 };
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = begin(&c, __func__, device, link, true);
    if (rc == NVML_SUCCESS && (!ret || capability >= CAPABILITY_COUNT)) {
        rc = NVML_ERROR_INVALID_ARGUMENT;
    }
    if (rc == NVML_SUCCESS) {
        *ret = capability != CAPABILITY_SLI;
    }
    return rc;
}

/* Which switch a link leads to.  Those of Blackwell's baseboard are not on the host's PCI bus. */
static int64_t switch_bus(const struct call *c, unsigned int link)
{
    bool is_visible =
        nvlink_is_up(c) && link < nvlink_count(c) && c->model->arch < SIM_ARCH_BLACKWELL;
    return is_visible ? SWITCH_BUS + (int)link % c->model->board.nvlink_switches : ANSWER_NONE;
}

static enum nvml_return get_remote(const char *name, struct nvml_device *device, unsigned int link,
                                   struct nvml_pci_info *pci)
{
    enum { SWITCH_AMPERE = 0x1AF1, SWITCH_HOPPER = 0x22A3 };
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = begin(&c, name, device, link, true);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (!pci) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    int64_t bus = switch_bus(&c, link);
    if (bus == ANSWER_NONE) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    unsigned int id = c.model->arch == SIM_ARCH_AMPERE ? SWITCH_AMPERE : SWITCH_HOPPER;
    *pci = (struct nvml_pci_info){.bus = (unsigned int)bus, .pci_device_id = id << 16 | 0x10DE};
    snprintf(pci->bus_id_legacy, sizeof(pci->bus_id_legacy), "0000:%02X:00.0", pci->bus & 0xFF);
    snprintf(pci->bus_id, sizeof(pci->bus_id), "00000000:%02X:00.0", pci->bus);
    return NVML_SUCCESS;
}

enum nvml_return nvmlDeviceGetNvLinkRemotePciInfo_v2(struct nvml_device *device, unsigned int link,
                                                     struct nvml_pci_info *pci)
{
    return get_remote(__func__, device, link, pci);
}

enum nvml_return nvmlDeviceGetNvLinkRemotePciInfo(struct nvml_device *device, unsigned int link,
                                                  struct nvml_pci_info_v2 *pci)
{
    struct nvml_pci_info full;
    enum nvml_return rc = get_remote(__func__, device, link, &full);
    if (rc == NVML_SUCCESS && !pci) {
        rc = NVML_ERROR_INVALID_ARGUMENT;
    }
    if (rc == NVML_SUCCESS) {
        *pci = pci_info_v2(&full);
    }
    return rc;
}

enum nvml_return nvmlDeviceGetNvLinkErrorCounter(struct nvml_device *device, unsigned int link,
                                                 unsigned int counter, unsigned long long *ret)
{
    CLEANUP(call_end) struct call c = {0};
    enum nvml_return rc = begin(&c, __func__, device, link, false);
    if (rc == NVML_SUCCESS && (!ret || counter >= ERROR_COUNTERS)) {
        rc = NVML_ERROR_INVALID_ARGUMENT;
    }
    if (rc == NVML_SUCCESS) {
        *ret = 0;
    }
    return rc;
}

enum nvml_return nvmlDeviceResetNvLinkErrorCounters(struct nvml_device *device, unsigned int link)
{
    CLEANUP(call_end) struct call c = {0};
    return begin(&c, __func__, device, link, false);
}

/* Fields.  Those up to NVLink 3 have a number for each link, later ones name it by the scope. */
enum field_kind {
    FIELD_COUNT,
    FIELD_SWITCHED, /* how many of them lead to a switch */
    FIELD_SPEED,
    FIELD_STATE,
    FIELD_VERSION,
    FIELD_POWER, /* 0: full speed */
    FIELD_REMOTE,
    FIELD_COUNTER
};

static const struct {
    unsigned short first, last;
    bool has_scope; /* else link 0 and up, and then all together */
    enum field_kind kind;
} fields[] = {
    {32, 59, false, FIELD_COUNTER},   {84, 90, false, FIELD_SPEED},
    {91, 91, false, FIELD_COUNT},     {96, 119, false, FIELD_COUNTER},
    {132, 137, false, FIELD_SPEED},   {138, 141, true, FIELD_COUNTER},
    {146, 146, true, FIELD_REMOTE},   {147, 147, false, FIELD_SWITCHED},
    {148, 160, false, FIELD_COUNTER}, {161, 163, true, FIELD_COUNTER},
    {164, 164, true, FIELD_SPEED},    {165, 165, true, FIELD_STATE},
    {166, 166, true, FIELD_VERSION},  {167, 167, true, FIELD_POWER},
};

static int64_t field_value(const struct call *c, enum field_kind kind, unsigned int link)
{
    const struct sim_board *b = &c->model->board;
    bool is_up = nvlink_is_up(c);
    switch (kind) {
    case FIELD_COUNT:
        return b->nvlink_links;
    case FIELD_SWITCHED:
        return is_up ? b->nvlink_links : 0;
    case FIELD_SPEED:
        return is_up ? b->nvlink_mbps : ANSWER_NONE;
    case FIELD_STATE:
        return is_up;
    case FIELD_VERSION:
        return b->nvlink_version;
    case FIELD_REMOTE: /* GPUs are plugged in one after the other */
        return is_up ? (int64_t)c->index * b->nvlink_links + (int64_t)link : ANSWER_NONE;
    default:
        return 0;
    }
}

enum nvml_return nvlink_field(const struct call *c, struct nvml_field_value *v)
{
    const unsigned int all_links = 0xFFFFFFFFu;
    int64_t links = nvlink_count(c);
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        if (v->field_id < fields[i].first || v->field_id > fields[i].last) {
            continue;
        }
        enum field_kind kind = fields[i].kind;
        if (links == ANSWER_NONE || (links == 0 && kind != FIELD_COUNT)) {
            return NVML_ERROR_NOT_SUPPORTED;
        }
        if (fields[i].has_scope && v->scope_id >= links &&
            !(kind == FIELD_COUNTER && v->scope_id == all_links)) {
            return NVML_ERROR_INVALID_ARGUMENT;
        }
        int64_t value = field_value(c, kind, v->scope_id);
        if (value == ANSWER_NONE) {
            return NVML_ERROR_NOT_SUPPORTED;
        }
        v->value_type = kind == FIELD_COUNTER ? NVML_VALUE_ULONGLONG : NVML_VALUE_UINT;
        v->value.ull = (unsigned long long)value; /* all bytes of the union, the rest is 0 */
        return NVML_SUCCESS;
    }
    return NVML_ERROR_NOT_SUPPORTED;
}
