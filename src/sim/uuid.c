/* gpu_uuid.c of NVIDIA's open kernel modules builds the same message; see docs/simulator.md.
 * SHA-1 is written out here because a library that is loaded into every process of a machine
 * should need nothing but libc. */
#include "sim/uuid.h"
#include "sim/machine.h"
#include <stdio.h>
#include <string.h>

static uint32_t rol(uint32_t x, int n)
{
    return (x << n) | (x >> (32 - n));
}

static void sha1_block(uint32_t h[5], const uint8_t *p)
{
    uint32_t w[80];
    for (int i = 0; i < 16; i++) {
        w[i] = (uint32_t)p[4 * i] << 24 | (uint32_t)p[4 * i + 1] << 16 |
               (uint32_t)p[4 * i + 2] << 8 | p[4 * i + 3];
    }
    for (int i = 16; i < 80; i++) {
        w[i] = rol(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    }
    uint32_t a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
    for (int i = 0; i < 80; i++) {
        uint32_t f = i < 20   ? ((b & c) | (~b & d)) + 0x5A827999
                     : i < 40 ? (b ^ c ^ d) + 0x6ED9EBA1
                     : i < 60 ? ((b & c) | (b & d) | (c & d)) + 0x8F1BBCDC
                              : (b ^ c ^ d) + 0xCA62C1D6;
        uint32_t t = rol(a, 5) + f + e + w[i];
        e = d;
        d = c;
        c = rol(b, 30);
        b = a;
        a = t;
    }
    h[0] += a;
    h[1] += b;
    h[2] += c;
    h[3] += d;
    h[4] += e;
}

/* SHA-1 of one message of at most 55 bytes: a single block. */
static void sha1_short(const uint8_t *data, size_t len, uint8_t digest[20])
{
    uint32_t h[5] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0};
    uint8_t block[64] = {0};
    memcpy(block, data, len);
    block[len] = 0x80;
    block[62] = (uint8_t)(len * 8 >> 8);
    block[63] = (uint8_t)(len * 8);
    sha1_block(h, block);
    for (int i = 0; i < 20; i++) {
        digest[i] = (uint8_t)(h[i / 4] >> (24 - 8 * (i % 4)));
    }
}

static size_t put_le(uint8_t *p, uint64_t value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        p[i] = (uint8_t)(value >> (8 * i));
    }
    return bytes;
}

static void format_uuid(const char *prefix, const uint8_t b[16], char *ret)
{
    snprintf(ret, 48, "%s%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
             prefix, b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11],
             b[12], b[13], b[14], b[15]);
}

/* Namespace, "NVIDIA GPU", chip and PDI, each with its length; returns what was written. */
static size_t put_gpu(uint8_t *p, const struct sim_model *model, uint64_t pdi)
{
    static const uint8_t space[16] = {0xc8, 0x16, 0xc9, 0xa3, 0x52, 0x24, 0x56, 0xbf,
                                      0x9d, 0x9a, 0xac, 0x7e, 0xa7, 0x03, 0xfb, 0x5b};
    memcpy(p, space, 16);
    memcpy(p + 16, "NVIDIA GPU", 10);
    size_t n = 26;
    p[n++] = 2;
    n += put_le(p + n, (uint64_t)model->chip, 2);
    p[n++] = 8;
    n += put_le(p + n, pdi, 8);
    return n;
}

static void finish(const uint8_t *message, size_t len, const char *prefix, char *ret)
{
    uint8_t digest[20];
    sha1_short(message, len, digest);
    digest[6] = (uint8_t)((digest[6] & 0x0F) | 0x50);
    digest[8] = (uint8_t)((digest[8] & 0x3F) | 0x80);
    format_uuid(prefix, digest, ret);
}

void sim_uuid_gpu(const struct sim_model *model, uint64_t pdi, char *ret)
{
    uint8_t message[55] = {0};
    size_t n = put_gpu(message, model, pdi);
    finish(message, n, "GPU-", ret);
}

void sim_uuid_mig(const struct sim_model *model, uint64_t pdi, uint32_t gi, uint32_t engine,
                  char *ret)
{
    uint8_t message[55] = {0};
    size_t n = put_gpu(message, model, pdi);
    message[n++] = 11;
    memcpy(message + n, "SMC", 3);
    n += 3;
    n += put_le(message + n, gi, 4);
    n += put_le(message + n, engine, 4);
    finish(message, n, "MIG-", ret);
}

void sim_uuid_random(uint64_t seed, uint64_t salt, char *ret)
{
    uint8_t b[16];
    put_le(b, sim_mix(seed, 0xB007 + 2 * salt), 8);
    put_le(b + 8, sim_mix(seed, 0xB008 + 2 * salt), 8);
    b[6] = (uint8_t)((b[6] & 0x0F) | 0x40);
    b[8] = (uint8_t)((b[8] & 0x3F) | 0x80);
    char text[48];
    format_uuid("", b, text);
    memcpy(ret, text, 37);
}
