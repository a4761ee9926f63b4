/* One process of the swarm: pairs of users who chat, each message counted. Twin of loadtest/engine.py, at a tenth of its cost.

   Arguments are key=value (loadtest/plan.py names them all). It prints "ready {…}" when its users are connected, waits
   for a line on standard input, runs, and prints its result as one JSON object (loadtest/report.py reads it). */
#define _GNU_SOURCE
#include "connections.h"
#include <fcntl.h>
#include <sys/resource.h>

static void text_argument(const char *argument, const char *key, char *to, size_t room) {
    size_t k = strlen(key);
    if (strncmp(argument, key, k) || argument[k] != '=') return;
    if (strlen(argument + k + 1) >= room) fail(key);
    strcpy(to, argument + k + 1);
}

static void number_argument(const char *argument, const char *key, long *to) {
    size_t k = strlen(key);
    if (!strncmp(argument, key, k) && argument[k] == '=') *to = strtol(argument + k + 1, NULL, 10);
}

static void read_plan(int count, char **arguments) {
    long run = 0, rate_milli = 0;
    for (int i = 1; i < count; i++) {
        const char *a = arguments[i];
        text_argument(a, "host", plan.host, sizeof plan.host);
        text_argument(a, "path", plan.path, sizeof plan.path);
        text_argument(a, "file", plan.file, sizeof plan.file);
        text_argument(a, "mode", plan.mode, sizeof plan.mode);
        text_argument(a, "per", plan.per, sizeof plan.per);
        text_argument(a, "auth", plan.auth, sizeof plan.auth);
        text_argument(a, "source", plan.source, sizeof plan.source);
        number_argument(a, "port", &plan.port);
        number_argument(a, "skip", &plan.skip);
        number_argument(a, "lines", &plan.lines);
        number_argument(a, "seconds_ms", &plan.seconds_ms);
        number_argument(a, "warmup_ms", &plan.warmup_ms);
        number_argument(a, "in_flight", &plan.in_flight);
        number_argument(a, "payload_bytes", &plan.payload_bytes);
        number_argument(a, "window", &plan.window);
        number_argument(a, "messages", &plan.messages);
        number_argument(a, "drain_ms", &plan.drain_ms);
        number_argument(a, "quiet_ms", &plan.quiet_ms);
        number_argument(a, "tick_us", &plan.tick_us);
        number_argument(a, "stall_ms", &plan.stall_ms);
        number_argument(a, "connect_ms", &plan.connect_ms);
        number_argument(a, "slot_ms", &plan.slot_ms);
        number_argument(a, "run", &run);
        number_argument(a, "rate_milli", &rate_milli);
    }
    plan.run = run;
    plan.rate = rate_milli / 1000.0;
    if (plan.payload_bytes < 1 || plan.payload_bytes >= (long)sizeof filler || plan.lines < 1) fail("plan");
    memset(filler, 'k', plan.payload_bytes);
    for (int i = 0; i < 4; i++) mask_key[i] = (plan.run >> (8 * i)) | 1;
}

static void read_users(void) {
    FILE *file = fopen(plan.file, "r");
    char line[4096], token[3072], peer[64];
    if (!file) fail(plan.file);
    for (long i = 0; i < plan.skip; i++)
        if (!fgets(line, sizeof line, file)) fail("the file has too few lines");
    conns = calloc(plan.lines, sizeof(conn));
    for (; conn_n < plan.lines; conn_n++) {
        conn *c = conns + conn_n;
        if (!fgets(line, sizeof line, file)) fail("the file has too few lines");
        if (sscanf(line, "%39s %3071s %39s %63s", c->user, token, c->conversation, peer) != 4) fail("a line of the file");
        if (strlen(peer) != 36) fail("groups are for the Python engine");
        c->token = strdup(token);
        c->index = plan.skip + conn_n;
        c->peer = conns + (conn_n ^ 1);
        c->lane = strcmp(plan.per, "user") ? conn_n / 2 : conn_n;
    }
    fclose(file);
    lane_n = strcmp(plan.per, "user") ? conn_n / 2 : conn_n;
    lanes = calloc(lane_n, sizeof(lane));
    live_n = conn_n;
}

static int connect_all(void) {
    uint64_t deadline = now_ns() + plan.connect_ms * 1000000ull;
    while (ready_n < live_n && now_ns() < deadline) {
        while (next_to_open < conn_n && pending_n < plan.window) open_conn(conns + next_to_open++);
        turn(SECOND / 100);
        uint64_t now = now_ns();
        for (uint32_t i = 0; errors.used && i < next_to_open && pending_n < plan.window; i++)
            if (conns[i].state == WAITING && conns[i].retry_ns && conns[i].retry_ns < now) open_conn(conns + i);
    }
    return live_n == conn_n && ready_n == conn_n;
}

/* A lane whose message never comes back would stand still for ever: after a while it is given up and the next is sent. */
static void tend_lanes(uint64_t now) {
    for (uint32_t k = 0; k < lane_n; k++) {
        lane *l = lanes + k;
        if (l->in_flight && now > l->progress_ns + plan.stall_ms * 1000000ull) {
            int per_user = !strcmp(plan.per, "user");
            for (conn *c = conns + (per_user ? k : 2 * k); c <= conns + (per_user ? k : 2 * k + 1); c++)
                for (uint32_t i = c->low; i < c->sent_n; i++)
                    if (!(c->sent[i].flags & (DONE | ABANDONED))) {
                        c->sent[i].flags |= ABANDONED;
                        total.stalled++;
                        l->in_flight--;
                        l->owed++;
                    }
        }
        if (l->owed && now >= l->resume_ns)
            for (uint32_t n = l->owed; n; n--) {
                l->owed--;
                lane_go(l, k, now);
            }
    }
}

static uint64_t done_so_far(void) { return total.acknowledged + total.received + total.refused + total.acknowledged_twice + total.received_twice; }

static void run(void) {
    uint64_t tended = 0, due_n = 0, seed = plan.run | 1;
    double gap = plan.rate > 0 ? SECOND / plan.rate : 0;
    begun_ns = now_ns();
    end_ns = begun_ns + plan.seconds_ms * 1000000ull;
    if (plan.mode[0] == 'c')
        for (uint32_t k = 0; k < lane_n; k++)
            for (long i = 0; i < plan.in_flight; i++) lane_go(lanes + k, k, begun_ns);
    for (uint64_t now = begun_ns; now < end_ns; now = now_ns()) {
        uint64_t wait = end_ns - now < SECOND / 10 ? end_ns - now : SECOND / 10;
        if (plan.mode[0] == 'o') {
            while (begun_ns + (uint64_t)(due_n * gap) <= now) {
                seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
                send_message(conns + seed % conn_n, begun_ns + (uint64_t)(due_n++ * gap));
            }
            uint64_t next = begun_ns + (uint64_t)(due_n * gap) - now;
            if (next < wait) wait = next < 200000 ? 200000 : next;
        }
        turn(wait);
        if (plan.mode[0] == 'c' && now > tended + SECOND / 20) tend_lanes(tended = now);
        if (plan.messages && total.sent >= (uint64_t)plan.messages) break;
    }
    if (end_ns > now_ns()) end_ns = now_ns();
    /* Wait for what is under way, and a tenth of the quiet time longer: what comes a second time comes late. */
    uint64_t moved = now_ns(), limit = moved + plan.drain_ms * 1000000ull, before = done_so_far();
    while (now_ns() < limit && now_ns() < moved + plan.quiet_ms * 1000000ull) {
        turn(SECOND / 50);
        if (done_so_far() != before) before = done_so_far(), moved = now_ns();
        if (total.acknowledged + total.refused >= total.sent && total.received + total.refused >= total.sent && now_ns() > moved + plan.quiet_ms * 100000ull) break;
    }
}

static void settle(void) {
    for (uint32_t i = 0; i < conn_n; i++) {
        conn *c = conns + i;
        if (c->seen.distinct) total.seq_missing += c->seen.highest - c->seen.lowest + 1 - c->seen.distinct;
        for (uint32_t k = 0; k < c->sent_n; k++) {
            const message *m = c->sent + k;
            if (m->flags & REFUSED) continue;
            if (!m->acks) total.unacknowledged++;
            if (!m->got) total.lost++;
            if (m->acks && !m->got) total.acknowledged_lost++;
        }
    }
}

#define TOTAL(name) printf("\"" #name "\":%llu,", (unsigned long long)total.name)
static void report(double connect_seconds, uint32_t connected, double processor_seconds) {
    printf("{\"engine\":\"native\",\"connections\":%u,\"ready\":%u,\"connect_seconds\":%.4f,\"processor_seconds\":%.4f,", conn_n, connected, connect_seconds,
           processor_seconds);
    printf("\"seconds\":%.4f,\"slot_seconds\":%.4f,", (end_ns - begun_ns) / 1e9, plan.slot_ms / 1e3);
    TOTAL(sent); TOTAL(acknowledged); TOTAL(acknowledged_twice); TOTAL(received); TOTAL(received_twice); TOTAL(refused); TOTAL(refused_received);
    TOTAL(acknowledged_lost); TOTAL(lost); TOTAL(unacknowledged); TOTAL(out_of_order); TOTAL(reordered); TOTAL(seq_missing); TOTAL(foreign); TOTAL(invented);
    TOTAL(misdelivered); TOTAL(strange); TOTAL(stuck); TOTAL(stalled); TOTAL(in_window);
    print_names("errors", &errors), printf(","), print_names("closes", &closes), printf(",");
    print_histogram("ack", &acks), printf(","), print_histogram("delivery", &deliveries);
    printf(",\"slots\":[");
    for (int i = 0; i < slot_n; i++) {
        printf("%s{\"sent\":%llu,\"received\":%llu,", i ? "," : "", (unsigned long long)slots[i].sent, (unsigned long long)slots[i].received);
        print_histogram("delivery", &slots[i].delivery);
        printf("}");
    }
    printf("],\"samples\":[");
    for (uint32_t i = 0; i < sample_n; i++) {
        printf("%s[%u,\"%c\",\"", i ? "," : "", samples[i].index, samples[i].kind);
        for (uint32_t k = 0; k < samples[i].length; k++) printf("%02x", (uint8_t)samples[i].payload[k]);
        printf("\"]");
    }
    printf("]}\n");
}

static double processor_seconds(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return u.ru_utime.tv_sec + u.ru_stime.tv_sec + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

int main(int count, char **arguments) {
    char go[16];
    read_plan(count, arguments);
    read_users();
    scratch = malloc(2 * READ_BYTES);
    slot_n = plan.seconds_ms / plan.slot_ms + 1;
    if (slot_n > MAX_SLOTS) fail("more slots than are kept");
    slots = calloc(slot_n, sizeof(slot));
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    uint64_t started = now_ns();
    int whole = connect_all();
    double connect_seconds = (now_ns() - started) / 1e9;
    uint32_t connected = ready_n;
    printf("ready {\"ready\":%u,\"connect_seconds\":%.4f}\n", connected, connect_seconds);
    fflush(stdout);
    /* While the others connect, this one's sockets stay tended: pings are answered. */
    fcntl(0, F_SETFL, O_NONBLOCK);
    ssize_t got;
    while ((got = read(0, go, sizeof go)) < 0 && errno == EAGAIN) turn(SECOND / 100);
    if (got <= 0) return 3;
    double before = processor_seconds();
    begun_ns = end_ns = now_ns();
    if (whole) run();
    double spent = processor_seconds() - before;
    stopping = 1;
    settle();
    for (uint32_t i = 0; i < conn_n; i++)
        if (conns[i].state == READY) put_text(conns + i, CLOSE, "\x03\xe8", 2);
    report(connect_seconds, connected, spent);
    return 0;
}
