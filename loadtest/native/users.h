/* The users of one process: what they send, what reaches them, and the account of both. */
#ifndef KITH_USERS_H
#define KITH_USERS_H
#define _GNU_SOURCE
#include "ledger.h"
#include "wire.h"
#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000ull
enum { OUT_LIMIT = 1 << 20, SAMPLES = 256, MAX_SLOTS = 600 };
enum state { WAITING, CONNECTING, UPGRADING, GREETING, READY, GONE };

typedef struct conn {
    int fd, tries;
    enum state state;
    uint32_t index, lane; /* its line in the file; who takes turns with it */
    char user[40], conversation[40], *token;
    struct conn *peer;
    uint8_t *in, *out; /* a frame that is not whole yet; what the kernel did not take */
    size_t in_length, out_length;
    uint64_t retry_ns;
    message *sent;
    uint32_t sent_n, sent_room, low; /* below `low` everything is done */
    int64_t latest;                  /* the highest of the peer's numbers that came */
    numbers seen;
} conn;

static struct {
    char host[64], path[128], file[512], mode[16], per[16], auth[16], source[64];
    long port, skip, lines, seconds_ms, warmup_ms, in_flight, payload_bytes, window, messages, drain_ms, quiet_ms, stall_ms, tick_us;
    long connect_ms, slot_ms;
    double rate;
    uint32_t run;
} plan;

static conn *conns;
static lane *lanes;
static uint32_t conn_n, lane_n, live_n, ready_n, pending_n, next_to_open;
static totals total;
static names errors, closes;
static histogram acks, deliveries;
static slot *slots;
static int slot_n, epoll_fd, stopping;
static uint64_t begun_ns, end_ns;
static char filler[8192];
static struct {
    uint32_t index;
    char kind;
    uint32_t length;
    char *payload;
} samples[SAMPLES];
static uint32_t sample_n, sampled_from;

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * SECOND + t.tv_nsec;
}

static void fail(const char *what) {
    fprintf(stderr, "chat: %s: %s\n", what, errno ? strerror(errno) : "not possible");
    exit(2);
}

/* The first of each kind and then fewer and fewer are kept whole; Python reads them strictly afterwards. */
static void sample(const conn *c, char kind, const frame *f) {
    uint32_t k = sampled_from++;
    if (sample_n == SAMPLES || (k >= 64 && k % 1024)) return;
    samples[sample_n].index = c->index;
    samples[sample_n].kind = kind;
    samples[sample_n].length = f->length;
    samples[sample_n].payload = malloc(f->length + 1);
    memcpy(samples[sample_n++].payload, f->payload, f->length);
}

static slot *slot_at(uint64_t at) {
    uint64_t k = at < begun_ns ? 0 : (at - begun_ns) / (plan.slot_ms * 1000000ull);
    return slots + (k < (uint64_t)slot_n ? k : (uint64_t)slot_n - 1);
}

static int measured(uint64_t at) { return at >= begun_ns + plan.warmup_ms * 1000000ull; }

static void gone(conn *c, const char *code, size_t length) {
    if (c->state == GONE) return;
    if (!stopping) count_name(&closes, code, length);
    if (c->state == READY) ready_n--;
    else pending_n--;
    c->state = GONE;
    live_n--;
    close(c->fd);
}

static void put(conn *c, const uint8_t *data, size_t length) {
    ssize_t taken = 0;
    if (!c->out_length) {
        taken = send(c->fd, data, length, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (taken == (ssize_t)length) return;
        if (taken < 0) {
            if (errno != EAGAIN && errno != EINTR) return; /* the reading side learns of it */
            taken = 0;
        }
    }
    c->out = realloc(c->out, c->out_length + length - taken);
    memcpy(c->out + c->out_length, data + taken, length - taken);
    if (!c->out_length) {
        struct epoll_event e = {.events = EPOLLIN | EPOLLOUT, .data.ptr = c};
        epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &e);
    }
    c->out_length += length - taken;
}

static void write_out(conn *c) {
    ssize_t taken = send(c->fd, c->out, c->out_length, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (taken < 0) return;
    c->out_length -= taken;
    memmove(c->out, c->out + taken, c->out_length);
    if (!c->out_length) {
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
        epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &e);
    }
}

static void put_text(conn *c, int opcode, const char *payload, size_t length) {
    static uint8_t framed[65536];
    put(c, framed, client_frame(framed, opcode, payload, length));
}

static int send_message(conn *c, uint64_t due) {
    static char text[16384];
    if (plan.messages && total.sent >= (uint64_t)plan.messages) return 0;
    if (c->state != READY || c->out_length > OUT_LIMIT) {
        total.stuck++; /* due, but its connection is gone or takes nothing any more */
        return 0;
    }
    if (c->sent_n == c->sent_room) {
        c->sent_room = c->sent_room ? c->sent_room * 2 : 16;
        c->sent = realloc(c->sent, c->sent_room * sizeof(message));
        if (!c->sent) fail("memory for messages");
    }
    uint32_t n = ++c->sent_n;
    char id[CLIENT_ID_BYTES];
    write_client_id(id, plan.run, c->index, n);
    int length = snprintf(text, sizeof text,
                          "{\"type\":\"message.send\",\"ref\":%u,\"payload\":{\"conversation_id\":\"%s\",\"client_id\":\"%.36s\",\"text\":\"%s\"}}", n,
                          c->conversation, id, filler);
    uint64_t at = due ? due : now_ns();
    c->sent[n - 1] = (message){.at_ns = at};
    total.sent++;
    slot_at(at)->sent++;
    put_text(c, TEXT, text, length);
    return 1;
}

/* A lane goes on with the other one's turn, so that both ends of a pair send. */
static void lane_go(lane *l, uint32_t k, uint64_t now) {
    conn *a = strcmp(plan.per, "user") ? conns + 2 * k + (l->turn++ & 1) : conns + k;
    if (now >= end_ns) return;
    l->progress_ns = now;
    if (send_message(a, 0)) l->in_flight++;
}

static void finished(conn *sender, message *m, uint64_t now) {
    if (m->flags & DONE) return;
    m->flags |= DONE;
    while (sender->low < sender->sent_n && sender->sent[sender->low].flags & DONE) sender->low++;
    if (plan.mode[0] != 'c' || m->flags & ABANDONED) return;
    lane *l = lanes + sender->lane;
    l->in_flight--;
    if (m->flags & REFUSED) {
        l->owed++;
        l->resume_ns = now + SECOND / 10; /* a refusal is not answered with a storm */
    } else {
        lane_go(l, sender->lane, now);
    }
}

static void acknowledged(conn *c, const frame *f) {
    int64_t n = whole_number(f, AFTER(f, "\"ref\":")), seq = whole_number(f, AFTER(f, "\"seq\":"));
    if (n < 1 || n > c->sent_n || seq < 1) {
        total.strange++;
        return;
    }
    message *m = c->sent + n - 1;
    sample(c, 'a', f);
    if (m->acks++) {
        m->acks = 2;
        total.acknowledged_twice++;
        return;
    }
    total.acknowledged++;
    saw_number(&c->seen, seq, &total);
    uint64_t now = now_ns();
    if (measured(m->at_ns)) record(&acks, now - m->at_ns);
    if (m->got) finished(c, m, now);
}

static void received(conn *c, const frame *f) {
    const char *id = AFTER(f, "\"client_id\":\""), *where = AFTER(f, "\"conversation_id\":\"");
    const char *end = f->payload + f->length;
    int64_t seq = whole_number(f, AFTER(f, "\"seq\":")), run, user, n;
    if (!id || end - id < CLIENT_ID_BYTES || !where || end - where < CLIENT_ID_BYTES || seq < 1) {
        total.strange++;
        return;
    }
    sample(c, 'd', f);
    if (memcmp(where, c->conversation, CLIENT_ID_BYTES)) {
        total.misdelivered++;
        return;
    }
    if (!read_client_id(id, &run, &user, &n) || run != plan.run) {
        total.foreign++; /* somebody else uses the same users; its number is part of the order all the same */
        saw_number(&c->seen, seq, &total);
        return;
    }
    conn *sender = c->peer;
    if (user != sender->index) {
        total.misdelivered++;
        return;
    }
    if (n < 1 || n > sender->sent_n) {
        total.invented++;
        return;
    }
    message *m = sender->sent + n - 1;
    if (m->got++) {
        m->got = 2;
        total.received_twice++;
        return;
    }
    total.received++;
    if (m->flags & REFUSED) total.refused_received++;
    int in_order = saw_number(&c->seen, seq, &total);
    if (n > c->latest) c->latest = n;
    else if (in_order) total.reordered++;
    uint64_t now = now_ns();
    if (measured(m->at_ns)) {
        record(&deliveries, now - m->at_ns);
        record(&slot_at(m->at_ns)->delivery, now - m->at_ns);
    }
    slot_at(now)->received++;
    if (measured(now) && now < end_ns) total.in_window++;
    if (m->acks) finished(sender, m, now);
}

static void refused(conn *c, const frame *f) {
    const char *code = AFTER(f, "\"code\":\""), *end = f->payload + f->length;
    const char *quote = code ? memchr(code, '"', end - code) : NULL;
    if (!quote) {
        total.strange++;
        return;
    }
    count_name(&errors, code, quote - code);
    int64_t n = whole_number(f, AFTER(f, "\"ref\":"));
    if (n < 1 || n > c->sent_n || memmem(f->payload, f->length, "\"outcome\":\"unknown\"", 19)) return;
    message *m = c->sent + n - 1;
    if (m->flags & (REFUSED | DONE)) return;
    m->flags |= REFUSED;
    total.refused++;
    finished(c, m, now_ns());
}
#endif
