/* What one process of the swarm counts: every message by itself, so that lost and doubled ones are told exactly. */
#ifndef KITH_LEDGER_H
#define KITH_LEDGER_H
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Log-linear, in tenths of a microsecond: exact below 256, then 128 buckets for each doubling, so 0.8 % wide.
   The same layout as loadtest/histogram.py; merging is adding. */
enum { HISTOGRAM_BUCKETS = 4096, HISTOGRAM_BITS = 36 };

typedef struct {
    uint64_t most_ns;
    uint32_t counts[HISTOGRAM_BUCKETS];
} histogram;

static void record(histogram *h, uint64_t ns) {
    uint64_t tenths = ns / 100;
    if (tenths >> HISTOGRAM_BITS) tenths = (1ull << HISTOGRAM_BITS) - 1;
    int shift = tenths < 256 ? 0 : 56 - __builtin_clzll(tenths);
    h->counts[tenths < 256 ? tenths : 256 + (shift - 1) * 128 + (tenths >> shift) - 128]++;
    if (ns > h->most_ns) h->most_ns = ns;
}

static void print_histogram(const char *name, const histogram *h) {
    printf("\"%s\":{\"most_ns\":%llu,\"counts\":{", name, (unsigned long long)h->most_ns);
    int first = 1;
    for (int i = 0; i < HISTOGRAM_BUCKETS; i++)
        if (h->counts[i]) {
            printf("%s\"%d\":%u", first ? "" : ",", i, h->counts[i]);
            first = 0;
        }
    printf("}}");
}

/* Counts by name: error codes and close codes. More names than this would be a server that makes them up. */
enum { NAMES = 48, NAME_BYTES = 40 };
typedef struct {
    char name[NAMES][NAME_BYTES];
    uint64_t count[NAMES];
    int used;
} names;

static void count_name(names *n, const char *name, size_t length) {
    if (length >= NAME_BYTES) length = NAME_BYTES - 1;
    for (int i = 0; i < n->used; i++)
        if (strlen(n->name[i]) == length && !memcmp(n->name[i], name, length)) {
            n->count[i]++;
            return;
        }
    int i = n->used < NAMES ? n->used++ : NAMES - 1;
    for (size_t k = 0; k < length; k++) /* it is printed between quotes */
        n->name[i][k] = (name[k] == '"' || name[k] == '\\' || (unsigned char)name[k] < 32) ? '?' : name[k];
    n->name[i][length] = 0;
    n->count[i]++;
}

static void print_names(const char *title, const names *n) {
    printf("\"%s\":{", title);
    for (int i = 0; i < n->used; i++)
        printf("%s\"%s\":%llu", i ? "," : "", n->name[i], (unsigned long long)n->count[i]);
    printf("}");
}

enum { DONE = 1, ABANDONED = 2, REFUSED = 4 };

typedef struct {
    uint64_t at_ns; /* when it was due (open loop) or sent (closed loop) */
    uint8_t acks, got, flags;
} message;

typedef struct {
    uint64_t sent, acknowledged, acknowledged_twice, received, received_twice, refused, refused_received;
    uint64_t acknowledged_lost, lost, unacknowledged, out_of_order, reordered, seq_missing;
    uint64_t foreign, invented, misdelivered, strange, stuck, stalled, in_window;
} totals;

/* The numbers one connection saw of its conversation: as `ok` for its own messages, as events for the others'. */
typedef struct {
    int64_t lowest, highest;
    uint64_t distinct;
} numbers;

static int saw_number(numbers *n, int64_t seq, totals *t) {
    if (!n->distinct++) n->lowest = n->highest = seq;
    int in_order = seq >= n->highest;
    if (in_order) n->highest = seq;
    else t->out_of_order++;
    if (seq < n->lowest) n->lowest = seq;
    return in_order;
}

/* A lane sends a message when the one before it is acknowledged and received. */
typedef struct {
    uint32_t in_flight, owed;
    uint64_t progress_ns, resume_ns;
    uint32_t turn;
} lane;

typedef struct {
    uint64_t sent, received;
    histogram delivery;
} slot;
#endif
