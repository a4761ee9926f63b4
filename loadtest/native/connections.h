/* Connections of the users: opening them, bytes in, frames told to users.h. */
#ifndef KITH_CONNECTIONS_H
#define KITH_CONNECTIONS_H
#include "users.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/syscall.h>

enum { READ_BYTES = 1 << 18, HANDSHAKE_TRIES = 8 };
static uint8_t *scratch; /* what is left of the read before, then what this read brought */

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
