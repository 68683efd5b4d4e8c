/* Pairs of a writer and a reader, each pair in a conversation of its own; every writer has one send
   outstanding and goes on when it is acknowledged. */
#include <stdio.h>
#include <stdlib.h>

#include "load.h"
#include "session.h"

static const struct options *opt;

static struct pair {
    uint64_t sent, acked, sent_at, acked_seq, expected, base;
} *pairs;

static uint64_t in_flight, acks, delivered;
static bool measuring, stopping;
static struct samples to_ack, to_reader;

static void send_next(struct session *writer) {
    struct pair *pair = &pairs[writer->index / 2];
    pair->sent_at = now_ns();
    session_publish(writer, opt->run, writer->index / 2, pair->sent++);
    in_flight++;
}

static void message(struct session *session, uint64_t seq, struct span frame, struct span text) {
    struct pair *pair = &pairs[session->index / 2];
    uint32_t writer;
    uint64_t n;
    (void)frame;
    if (!session_text(session, text, &writer, &n)) return;
    if (writer != session->index / 2 || n >= pair->sent || seq != pair->base + n)
        fail("conversation %u: seq %llu holds text %llu of writer %u", session->index / 2, (unsigned long long)seq,
             (unsigned long long)n, writer);
    if (session->index % 2 == 0) return;
    pair->expected = n + 1;
    if (!measuring) return;
    delivered++;
    if (n + 1 == pair->sent) samples_add(&to_reader, (double)(now_ns() - pair->sent_at) / 1e6);
}

static void ack(struct session *session, uint64_t ref, uint64_t seq) {
    struct pair *pair = &pairs[session->index / 2];
    if (session->index % 2 || ref != pair->acked || ref + 1 != pair->sent || seq != pair->base + ref)
        fail("conversation %u: %llu acknowledged as seq %llu", session->index / 2, (unsigned long long)ref,
             (unsigned long long)seq);
    pair->acked++;
    in_flight--;
    if (measuring) {
        acks++;
        samples_add(&to_ack, (double)(now_ns() - pair->sent_at) / 1e6);
    }
    if (!stopping) send_next(session);
}

static bool all_arrived(void) {
    for (uint32_t i = 0; i < session_count / 2; i++)
        if (pairs[i].expected != pairs[i].acked) return false;
    return true;
}

void run_durable(const struct options *options) {
    static const struct session_events events = {.message = message, .ack = ack};
    opt = options;
    sessions_load(opt->plan);
    if (session_count % 2) fail("sessions come in pairs");
    sessions_connect(opt->port, 200, 60, &events);
    pairs = calloc(session_count / 2, sizeof *pairs);
    if (!pairs) fail("out of memory");
    uint64_t from = now_ns() + (uint64_t)(opt->warm_s * (double)SECOND);
    uint64_t until = from + (uint64_t)(opt->measure_s * (double)SECOND), end = until + 10 * SECOND, began = 0;
    double cpu = 0, mine = 0, seconds = 0;
    for (uint32_t i = 0; i < session_count; i += 2) {
        pairs[i / 2].base = sessions[i].next;
        if (sessions[i + 1].next != sessions[i].next) fail("pair %u was told two heads", i / 2);
    }
    for (uint32_t i = 0; i < session_count; i += 2) send_next(&sessions[i]);
    while (!stopping || in_flight || !all_arrived()) {
        if (!conns_turn(stopping ? 100 : 5000) && !stopping) fail("no frame for 5 s with all writers waiting");
        uint64_t now = now_ns();
        if (!measuring && !stopping && now >= from) {
            cpu = cpu_of(opt->server), mine = own_cpu(), began = now;
            measuring = true;
        } else if (measuring && now >= until) {
            cpu = cpu_of(opt->server) - cpu, mine = own_cpu() - mine, seconds = (double)(now - began) / 1e9;
            measuring = false, stopping = true;
        }
        if (now > end) fail("%llu sends unanswered, or acknowledged but not delivered", (unsigned long long)in_flight);
    }
    uint64_t total = 0;
    for (uint32_t i = 0; i < session_count / 2; i++) total += pairs[i].acked;
    printf("{\"acks\": %llu, \"deliveries\": %llu, \"total\": %llu, \"seconds\": %.3f, \"server_cpu\": %.3f, "
           "\"load_cpu\": %.3f, \"ack_p50_ms\": %.3f, \"ack_p99_ms\": %.3f, \"reader_p50_ms\": %.3f, "
           "\"reader_p99_ms\": %.3f, \"ephemeral\": %llu}\n",
           (unsigned long long)acks, (unsigned long long)delivered, (unsigned long long)total, seconds, cpu, mine,
           samples_at(&to_ack, 0.5), samples_at(&to_ack, 0.99), samples_at(&to_reader, 0.5),
           samples_at(&to_reader, 0.99), (unsigned long long)ephemeral_frames);
}
