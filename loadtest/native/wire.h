/* The little of RFC 6455 and of Kith's JSON that a client of the swarm needs. */
#ifndef KITH_WIRE_H
#define KITH_WIRE_H
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT = 1, CLOSE = 8, PING = 9, PONG = 10 };

static uint8_t mask_key[4];

/* A whole masked frame into `to`; returns its length. A real mask, so that the server's unmasking is measured, too. */
static size_t client_frame(uint8_t *to, int opcode, const char *payload, size_t length) {
    uint8_t *p = to;
    *p++ = 0x80 | opcode;
    if (length < 126) {
        *p++ = 0x80 | length;
    } else {
        *p++ = 0x80 | 126;
        *p++ = length >> 8;
        *p++ = length;
    }
    memcpy(p, mask_key, 4);
    p += 4;
    for (size_t i = 0; i < length; i++) p[i] = payload[i] ^ mask_key[i & 3];
    return p + length - to;
}

typedef struct {
    int opcode, fin;
    const char *payload;
    size_t length;
} frame;

/* Bytes used, 0 when the frame is not whole yet, -1 when it breaks the protocol. */
static long server_frame(const uint8_t *data, size_t have, frame *f) {
    if (have < 2) return 0;
    size_t head = 2;
    uint64_t length = data[1];
    if (data[0] & 0x70 || length > 127) return -1;
    if (length == 126) {
        if (have < 4) return 0;
        length = data[2] << 8 | data[3];
        head = 4;
    } else if (length == 127) {
        if (have < 10) return 0;
        length = 0;
        for (int i = 2; i < 10; i++) length = length << 8 | data[i];
        head = 10;
        if (length > 64u << 20) return -1;
    }
    if (have < head + length) return 0;
    f->opcode = data[0] & 15;
    f->fin = data[0] >> 7;
    f->payload = (const char *)data + head;
    f->length = length;
    return head + length;
}

/* The value after a quoted key. Inside a JSON string a quote is escaped, so `"seq":` can only be a key. */
static const char *after(const frame *f, const char *key, size_t key_length) {
    const char *at = memmem(f->payload, f->length, key, key_length);
    return at ? at + key_length : NULL;
}
#define AFTER(f, key) after(f, key, sizeof key - 1)

static int64_t whole_number(const frame *f, const char *at) {
    const char *end = f->payload + f->length;
    int64_t value = 0;
    if (!at || at == end || *at < '0' || *at > '9') return -1;
    for (; at < end && *at >= '0' && *at <= '9'; at++) value = value * 10 + (*at - '0');
    return value;
}

static int64_t hexadecimal(const char *at, int digits) {
    int64_t value = 0;
    for (int i = 0; i < digits; i++) {
        int c = at[i], d = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (d < 0) return -1;
        value = value << 4 | d;
    }
    return value;
}

/* A client id says which run, which user of the file and which message of his it is (loadtest/identity.py). */
enum { CLIENT_ID_BYTES = 36 };
static void write_client_id(char *to, uint32_t run, uint32_t user, uint32_t n) {
    static const char digits[] = "0123456789abcdef";
    memcpy(to, "00000000-0000-4000-8000-000000000000", CLIENT_ID_BYTES);
    for (int i = 0; i < 8; i++) to[i] = digits[run >> (28 - 4 * i) & 15];
    for (int i = 0; i < 4; i++) to[9 + i] = digits[user >> (24 - 4 * i) & 15];
    for (int i = 0; i < 3; i++) to[15 + i] = digits[user >> (8 - 4 * i) & 15];
    for (int i = 0; i < 8; i++) to[28 + i] = digits[n >> (28 - 4 * i) & 15];
}

static int read_client_id(const char *at, int64_t *run, int64_t *user, int64_t *n) {
    int64_t high = hexadecimal(at + 9, 4), low = hexadecimal(at + 15, 3);
    *run = hexadecimal(at, 8);
    *n = hexadecimal(at + 24, 12);
    *user = high << 12 | low;
    return *run >= 0 && *n >= 0 && high >= 0 && low >= 0 && at[14] == '4' && !memcmp(at + 19, "8000", 4);
}
#endif
