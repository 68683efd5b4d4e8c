/* Sends at fixed times, whatever the server does meanwhile; each is timed from when it was due. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "load.h"
#include "session.h"

static const struct options *opt;

struct sent {
    uint64_t due;
    uint32_t group, from, got;
    bool acked, echoed;
};

static struct sent *sends;
static uint64_t total, next_send, warm, acked, finished, latest_ns;
static uint32_t *group_of, *first_of, *size_of, groups;
static struct samples to_ack, to_last;

/* Sessions of one conversation stand together in the plan. */
static void find_groups(void) {
    group_of = need(session_count * sizeof *group_of);
    first_of = need(session_count * sizeof *first_of);
    size_of = need(session_count * sizeof *size_of);
    for (uint32_t i = 0; i < session_count; i++) {
        if (!i || strcmp(sessions[i].conversation, sessions[i - 1].conversation)) {
            first_of[groups] = i;
            size_of[groups++] = 0;
        }
        group_of[i] = groups - 1;
        size_of[groups - 1]++;
    }
}

static void message(struct session *session, uint64_t seq, struct span frame, struct span text) {
    uint32_t writer;
    uint64_t n;
    (void)frame, (void)seq;
    if (!session_text(session, text, &writer, &n)) return;
    if (writer || n >= next_send || sends[n].group != group_of[session->index])
        fail("message %llu came to the wrong group", (unsigned long long)n);
    struct sent *sent = &sends[n];
    if (session->index == sent->from) {
        if (sent->echoed) fail("message %llu came back twice", (unsigned long long)n);
        sent->echoed = true;
        return;
    }
    if (++sent->got == size_of[sent->group] - 1) {
        finished++;
        if (n >= warm) samples_add(&to_last, (double)(now_ns() - sent->due) / 1e6);
    }
}

static void ack(struct session *session, uint64_t ref, uint64_t seq) {
    (void)seq;
    if (ref >= next_send || sends[ref].from != session->index || sends[ref].acked)
        fail("an acknowledgement that was not due: %llu", (unsigned long long)ref);
    sends[ref].acked = true;
    acked++;
    if (ref >= warm) samples_add(&to_ack, (double)(now_ns() - sends[ref].due) / 1e6);
}

void run_latency(const struct options *options) {
    static const struct session_events events = {.message = message, .ack = ack};
    opt = options;
    sessions_load(opt->plan);
    find_groups();
    sessions_connect(opt->port, 200, 60, &events);
    warm = (uint64_t)(opt->rate * opt->warm_s);
    total = warm + (uint64_t)(opt->rate * opt->measure_s);
    sends = calloc(total, sizeof *sends);
    if (!sends) fail("out of memory");
    uint64_t start = now_ns() + SECOND / 10, end = start + (uint64_t)((double)total / opt->rate * 1e9) + 10 * SECOND;
    double cpu = 0, mine = 0;
    uint64_t began = 0, stopped = 0;
    while (acked < total || finished < total) {
        uint64_t now = now_ns();
        while (next_send < total) {
            uint64_t due = start + (uint64_t)((double)next_send * 1e9 / opt->rate);
            if (due > now) {
                conns_alarm(due);
                break;
            }
            if (next_send == warm) cpu = cpu_of(opt->server), mine = own_cpu(), began = now;
            uint32_t group = (uint32_t)(next_send % groups);
            uint32_t from = first_of[group] + (uint32_t)(next_send / groups % size_of[group]);
            sends[next_send] = (struct sent){.due = due, .group = group, .from = from};
            if (now - due > latest_ns) latest_ns = now - due;
            uint64_t n = next_send++;
            session_publish(&sessions[from], opt->run, 0, n);
            if (next_send == total) stopped = now;
        }
        conns_turn(100);
        if (now > end) fail("%llu sends were not acknowledged, %llu did not reach all", (unsigned long long)(total - acked),
                            (unsigned long long)(total - finished));
    }
    cpu = cpu_of(opt->server) - cpu, mine = own_cpu() - mine;
    printf("{\"sends\": %llu, \"seconds\": %.3f, \"server_cpu\": %.3f, \"load_cpu\": %.3f, \"groups\": %u, "
           "\"ack_p50_ms\": %.3f, \"ack_p99_ms\": %.3f, \"ack_max_ms\": %.3f, \"last_p50_ms\": %.3f, "
           "\"last_p99_ms\": %.3f, \"last_max_ms\": %.3f, \"latest_send_ms\": %.3f, \"ephemeral\": %llu}\n",
           (unsigned long long)(total - warm), (double)(stopped - began) / 1e9, cpu, mine, groups, samples_at(&to_ack, 0.5),
           samples_at(&to_ack, 0.99), samples_at(&to_ack, 1), samples_at(&to_last, 0.5), samples_at(&to_last, 0.99),
           samples_at(&to_last, 1), (double)latest_ns / 1e6, (unsigned long long)ephemeral_frames);
}
