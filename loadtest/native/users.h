/* The users of one process: their connections, what they send and what reaches them. */
#ifndef KITH_USERS_H
#define KITH_USERS_H
#define _GNU_SOURCE
#include "ledger.h"
#include "wire.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000ull
enum { READ_BYTES = 1 << 18, OUT_LIMIT = 1 << 20, SAMPLES = 256, MAX_SLOTS = 600, HANDSHAKE_TRIES = 8 };
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
static uint8_t *scratch;
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

static int is_type(const frame *f, const char *name, size_t length) {
    const char *at = AFTER(f, "\"type\":\"");
    return at && f->payload + f->length - at > (long)length && !memcmp(at, name, length) && at[length] == '"';
}
#define IS(f, name) is_type(f, name, sizeof name - 1)

static void take(conn *c, const frame *f) {
    if (f->opcode == PING) {
        put_text(c, PONG, f->payload, f->length);
    } else if (f->opcode == CLOSE) {
        char code[16];
        int length = snprintf(code, sizeof code, "%d", f->length < 2 ? 1005 : (uint8_t)f->payload[0] << 8 | (uint8_t)f->payload[1]);
        put_text(c, CLOSE, f->payload, f->length < 2 ? 0 : 2);
        gone(c, code, length);
    } else if (f->opcode != TEXT || !f->fin) {
        total.strange++;
    } else if (IS(f, "message.created")) {
        received(c, f);
    } else if (IS(f, "ok")) {
        acknowledged(c, f);
    } else if (IS(f, "error")) {
        refused(c, f);
    } else if (IS(f, "caught_up") && c->state == GREETING) {
        c->state = READY;
        ready_n++;
        pending_n--;
    }
}

static void say_hello(conn *c) {
    char text[4096];
    int by_hello = !strcmp(plan.auth, "hello");
    c->state = GREETING;
    put_text(c, TEXT, text,
             snprintf(text, sizeof text, "{\"type\":\"hello\",\"ref\":\"hello\",\"payload\":{%s%s%s}}", by_hello ? "\"token\":\"" : "", by_hello ? c->token : "",
                      by_hello ? "\"" : ""));
}

static void ask_upgrade(conn *c) {
    char text[4096];
    int by_header = !strcmp(plan.auth, "header");
    c->state = UPGRADING;
    int length = snprintf(text, sizeof text,
                          "GET %s HTTP/1.1\r\nHost: %s:%ld\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: "
                          "dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: kith.v1\r\n%s%s%s\r\n",
                          plan.path, plan.host, plan.port, by_header ? "Authorization: Bearer " : "", by_header ? c->token : "", by_header ? "\r\n" : "");
    put(c, (uint8_t *)text, length);
}

static void open_conn(conn *c) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(plan.port)}, from = {.sin_family = AF_INET};
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) fail("socket");
    inet_aton(plan.host, &to.sin_addr);
    if (*plan.source) { /* 28,000 ports per source address; the kernel picks the port when it knows the target */
        inet_aton(plan.source, &from.sin_addr);
        setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
        if (bind(c->fd, (void *)&from, sizeof from)) fail("bind");
    }
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(c->fd, (void *)&to, sizeof to) && errno != EINPROGRESS) fail("connect");
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT, .data.ptr = c};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &e)) fail("epoll_ctl");
    c->state = CONNECTING;
    c->in_length = c->out_length = 0;
    pending_n++;
}

/* Answer to the upgrade. Returns bytes used, 0 for more. A 503 is the server's admission: back after a second. */
static long upgraded(conn *c, const uint8_t *data, size_t have) {
    const char *end = memmem(data, have, "\r\n\r\n", 4);
    if (!end) return have > 16384 ? -1 : 0;
    size_t head = end + 4 - (const char *)data;
    if (have > 12 && !memcmp(data + 9, "503", 3) && c->tries++ < HANDSHAKE_TRIES) {
        count_name(&errors, "handshake 503", 13);
        close(c->fd);
        pending_n--;
        c->state = WAITING;
        c->retry_ns = now_ns() + SECOND;
        return -2;
    }
    if (memcmp(data, "HTTP/1.1 101", 12) || !memmem(data, head, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", 28)) {
        char name[32];
        count_name(&errors, name, snprintf(name, sizeof name, "handshake %.3s", have > 12 ? (char *)data + 9 : "?"));
        gone(c, "refused", 7);
        return -2;
    }
    say_hello(c);
    return head;
}

static void readable(conn *c) {
    size_t have = c->in_length;
    if (have) memcpy(scratch, c->in, have);
    ssize_t got = recv(c->fd, scratch + have, READ_BYTES, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
        gone(c, "1006", 4);
        return;
    }
    have += got;
    size_t at = 0;
    while (at < have) {
        frame f;
        int upgrading = c->state == UPGRADING;
        long used = upgrading ? upgraded(c, scratch + at, have - at) : server_frame(scratch + at, have - at, &f);
        if (used == -2) return;
        if (used < 0) {
            total.strange++;
            gone(c, "1002", 4);
            return;
        }
        if (!used) break;
        if (!upgrading) take(c, &f);
        at += used;
        if (c->state == GONE) return;
    }
    c->in_length = have - at;
    if (c->in_length) {
        if (c->in_length > READ_BYTES) fail("a frame larger than the buffer");
        c->in = realloc(c->in, c->in_length);
        memcpy(c->in, scratch + at, c->in_length);
    }
}

static void handle(conn *c, uint32_t events) {
    if (c->state == CONNECTING) {
        int error = 0;
        socklen_t size = sizeof error;
        getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error) {
            count_name(&errors, "connect", 7);
            gone(c, "refused", 7);
            return;
        }
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
        epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &e);
        ask_upgrade(c);
        return;
    }
    if (events & EPOLLOUT && c->out_length) write_out(c);
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) readable(c);
}

/* Everything that is ready, but not oftener than once per tick: woken by each single frame, this process spends twice
   the processor time, and it shares the cores with what it measures. epoll_wait counts in milliseconds; an open loop of
   8,000 a second wants finer. */
static void turn(uint64_t wait_ns) {
    static uint64_t last_ns;
    struct epoll_event events[512];
    uint64_t tick_ns = plan.tick_us * 1000ull, now = now_ns();
    if (now < last_ns + tick_ns) {
        struct timespec rest = {.tv_nsec = last_ns + tick_ns - now};
        nanosleep(&rest, NULL);
    }
    struct timespec t = {.tv_sec = wait_ns / SECOND, .tv_nsec = wait_ns % SECOND};
    int n = syscall(SYS_epoll_pwait2, epoll_fd, events, 512, &t, NULL, 0);
    if (n < 0 && errno == ENOSYS) n = epoll_wait(epoll_fd, events, 512, (wait_ns + 999999) / 1000000);
    last_ns = now_ns();
    for (int i = 0; i < n; i++) {
        conn *c = events[i].data.ptr;
        if (c->state != GONE && c->state != WAITING) handle(c, events[i].events);
    }
}
#endif
