#pragma once
#include <stdbool.h>

/* What each GPU model can be cut into: tables compiled in from models.txt.  Read-only, any thread.
 */

#define SIM_UNKNOWN (-1)
#define SIM_MAX_STARTS 16
#define SIM_MAX_GI_PROFILES 18
#define SIM_MAX_CI_PROFILES 9

/* In the order in which they came: what one can, its successors can. */
enum sim_arch {
    SIM_ARCH_TURING,
    SIM_ARCH_AMPERE,
    SIM_ARCH_ADA,
    SIM_ARCH_HOPPER,
    SIM_ARCH_BLACKWELL
};

/* A compute instance profile inside a GPU instance; starts and size in compute slices. */
struct sim_ci_profile {
    const char *name;
    int enum_value, id, slices, count, sms, size;
    int start_count, starts[SIM_MAX_STARTS];
};

/* A GPU instance profile; starts and size in memory slots. */
struct sim_gi_profile {
    const char *name;
    int enum_value, id, slices, count, sms, memory_mib;
    int copy_engines, decoders, encoders, jpegs, ofas, is_p2p, capabilities, size;
    int start_count, starts[SIM_MAX_STARTS];
    int order[SIM_MAX_STARTS]; /* preference when no placement is asked for */
    int ci_count;
    struct sim_ci_profile cis[SIM_MAX_CI_PROFILES];
};

/* What only a look at a real board tells; "" and SIM_UNKNOWN where nobody has published one. */
struct sim_board {
    const char *vbios, *part, *image_version, *oem_version, *ecc_version;
    int subsystem;
    /* Temperatures in C.  With a `limit` (Ada and later) the driver reports how far away each of
     * them is from it, and `memory` is that distance already. */
    int limit_c, shutdown_c, slowdown_c, gpu_max_c, memory_max_c;
    /* In MHz: the SMs' at rest and by default, the video engine's highest and at rest, the lower
     * memory clock and the SMs' highest with it. */
    int idle_mhz, default_mhz, video_mhz, video_idle_mhz, memory_low_mhz, low_sm_mhz;
    int bus_bits, remap_banks;
    /* NVLink: the version as drivers number it, links, speed of each in MB/s and direction, and the
     * switches that they lead to (0: nothing is plugged in). */
    int nvlink_version, nvlink_links, nvlink_mbps, nvlink_switches;
};

/* Numbers that are not known are SIM_UNKNOWN; a GPU without MIG has no profiles. */
struct sim_model {
    const char *key, *name, *confidence;
    const char *lacks; /* why it cannot be simulated; "" when it can */
    enum sim_arch arch;
    int pci_id, chip, cuda_major, cuda_minor;
    int memory_mib, reserved_mib, bar1_mib;
    int slots, sms, max_devices;
    int power_w, power_min_w, sm_clock_mhz, memory_clock_mhz;
    struct sim_board board;
    int gi_count;
    struct sim_gi_profile gis[SIM_MAX_GI_PROFILES];
};

extern const struct sim_model sim_models[];
extern const unsigned int sim_model_count;

static inline bool sim_model_has_mig(const struct sim_model *m)
{
    return m->gi_count > 0;
}

/* A placeholder where none is known. */
static inline const char *sim_model_vbios(const struct sim_model *m)
{
    return m->board.vbios[0] ? m->board.vbios : "00.00.00.00.00";
}

/* By key; NULL when there is none. */
const struct sim_model *sim_model_find(const char *key);
/* -1 when the model has no such profile. */
int sim_model_gi_by_enum(const struct sim_model *m, unsigned int enum_value);
int sim_model_gi_by_id(const struct sim_model *m, unsigned int id);
int sim_gi_ci_by_enum(const struct sim_gi_profile *gi, unsigned int enum_value);
int sim_gi_ci_by_id(const struct sim_gi_profile *gi, unsigned int id);
/* The profile of the whole GPU; its engine counts are what all instances together may have.  NULL
 * for a GPU without MIG. */
const struct sim_gi_profile *sim_model_whole(const struct sim_model *m);
