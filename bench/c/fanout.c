/* One writer with a fixed number of publishes outstanding, and a conversation full of readers.

   A publish is over when it is acknowledged and every reader has it; the next one follows at once, in a
   write of its own.  The first reader to get a seq has it taken apart and checked; the frames of the
   others must equal it byte for byte. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "load.h"
#include "session.h"

#define RING 1024
#define FRAME_MOST 4096

static struct slot {
    uint64_t seq, n;
    uint32_t got, size;
    char frame[FRAME_MOST];
} slots[RING];

static struct publish {
    uint64_t n, acked_seq, seen_seq, sent_at;
} publishes[RING];

static const struct options *opt;
static uint32_t readers;
static uint64_t sent, finished, deliveries, frame_bytes;
static bool measuring, stopping;
static struct samples to_last, to_ack;

static void publish(void) {
    struct publish *mine = &publishes[sent % RING];
    *mine = (struct publish){.n = sent, .sent_at = now_ns()};
    if (opt->payload) {
        static char frame[FRAME_MOST];
        text_of(0, sent, frame);
        memset(frame + TEXT_SIZE, 'x', opt->payload - TEXT_SIZE);
        struct slot *slot = &slots[(sent + 1) % RING];
        *slot = (struct slot){.seq = sent + 1, .n = sent, .size = opt->payload};
        memcpy(slot->frame, frame, opt->payload);
        mine->acked_seq = mine->seen_seq = sent + 1;
        conn_send(&sessions[0].conn, frame, opt->payload);
    } else {
        session_publish(&sessions[0], opt->run, 0, sent);
    }
    sent++;
}

static void check_finished(struct publish *mine) {
    if (!mine->acked_seq || !mine->seen_seq) return;
    if (mine->acked_seq != mine->seen_seq)
        fail("publish %llu was acknowledged as seq %llu and delivered as %llu", (unsigned long long)mine->n,
             (unsigned long long)mine->acked_seq, (unsigned long long)mine->seen_seq);
    if (slots[mine->seen_seq % RING].got < readers) return;
    finished++;
    if (measuring) samples_add(&to_last, (double)(now_ns() - mine->sent_at) / 1e6);
    if (!stopping) publish();
}

static void delivered(struct slot *slot) {
    slot->got++;
    if (measuring) deliveries++;
    if (slot->got == readers) check_finished(&publishes[slot->n % RING]);
}

static bool raw(struct session *session, const char *text, size_t size) {
    struct slot *slot = &slots[session->next % RING];
    if (slot->seq != session->next || slot->size != size || memcmp(slot->frame, text, size)) {
        if (opt->payload) session_trouble(session, "a frame that was not sent");
        return false;
    }
    session->next++;
    if (session->index) delivered(slot);
    return true;
}

static void message(struct session *session, uint64_t seq, struct span frame, struct span text) {
    struct slot *slot = &slots[seq % RING];
    uint32_t writer;
    uint64_t n;
    if (slot->seq == seq) {
        session_trouble(session, "seq %llu differs between readers", (unsigned long long)seq);
        return;
    }
    if (!session_text(session, text, &writer, &n)) return;
    struct publish *mine = &publishes[n % RING];
    if (writer || n >= sent || mine->n != n || mine->seen_seq) fail("message %llu came twice", (unsigned long long)n);
    if (frame.size > FRAME_MOST) fail("an event of %zu bytes", frame.size);
    if (slot->seq && slot->got < readers) fail("seq %llu never reached everyone", (unsigned long long)slot->seq);
    mine->seen_seq = seq;
    slot->seq = seq;
    slot->n = n;
    slot->got = 0;
    slot->size = (uint32_t)frame.size;
    memcpy(slot->frame, frame.at, frame.size);
    frame_bytes = frame.size + (frame.size < 126 ? 2 : 4);
    if (session->index) delivered(slot);
}

static void ack(struct session *session, uint64_t ref, uint64_t seq) {
    struct publish *mine = &publishes[ref % RING];
    if (session->index || ref >= sent || mine->n != ref || mine->acked_seq)
        fail("an acknowledgement that was not due: %llu", (unsigned long long)ref);
    mine->acked_seq = seq;
    if (measuring) samples_add(&to_ack, (double)(now_ns() - mine->sent_at) / 1e6);
    check_finished(mine);
}

static void count_reads(uint64_t *reads, uint64_t *frames) {
    *reads = *frames = 0;
    for (uint32_t i = 1; i < session_count; i++) {
        *reads += sessions[i].conn.reads;
        *frames += sessions[i].conn.frames;
    }
}

void run_fanout(const struct options *options) {
    static const struct session_events events = {.raw = raw, .message = message, .ack = ack};
    opt = options;
    if (opt->payload && (opt->payload < TEXT_SIZE || opt->payload > FRAME_MOST)) fail("payload out of range");
    if (!opt->window || opt->window > RING / 4) fail("window out of range");
    sessions_load(opt->plan);
    readers = session_count - 1;
    if (opt->payload) {
        sessions_connect_bare(opt->port, &events);
        frame_bytes = opt->payload + (opt->payload < 126 ? 2 : 4);
        /* The first text tells the bare program who writes; the answer tells us that it knows all readers. */
        for (uint32_t i = 0; i < session_count; i++) conn_send(&sessions[i].conn, i ? "reader" : "writer", 6);
        uint64_t settle = now_ns() + SECOND / 2;
        while (now_ns() < settle) conns_turn(10);
    } else {
        sessions_connect(opt->port, 200, 60, &events);
    }
    uint64_t from = now_ns() + (uint64_t)(opt->warm_s * (double)SECOND);
    uint64_t until = from + (uint64_t)(opt->measure_s * (double)SECOND), end = until + 10 * SECOND, began = 0;
    uint64_t reads0 = 0, frames0 = 0, reads1 = 0, frames1 = 0;
    double cpu = 0, mine = 0, seconds = 0;
    for (uint32_t i = 0; i < opt->window; i++) publish();
    while (!stopping || finished < sent) {
        if (!conns_turn(5000) && !stopping) fail("no frame for 5 s with %u publishes outstanding", opt->window);
        uint64_t now = now_ns();
        if (!measuring && !stopping && now >= from) {
            cpu = cpu_of(opt->server), mine = own_cpu(), began = now;
            count_reads(&reads0, &frames0);
            measuring = true;
        } else if (measuring && now >= until) {
            cpu = cpu_of(opt->server) - cpu, mine = own_cpu() - mine, seconds = (double)(now - began) / 1e9;
            count_reads(&reads1, &frames1);
            measuring = false, stopping = true;
        }
        if (now > end) fail("%llu publishes were never finished", (unsigned long long)(sent - finished));
    }
    for (uint32_t i = 1; i < session_count; i++)
        if (sessions[i].next != sessions[1].next) fail("reader %u is not where the others are", i);
    printf("{\"deliveries\": %llu, \"publishes\": %llu, \"seconds\": %.3f, \"server_cpu\": %.3f, \"load_cpu\": %.3f, "
           "\"frame_bytes\": %llu, \"frames_per_read\": %.2f, \"last_p50_ms\": %.3f, \"last_p99_ms\": %.3f, "
           "\"ack_p50_ms\": %.3f, \"ephemeral\": %llu}\n",
           (unsigned long long)deliveries, (unsigned long long)finished, seconds, cpu, mine,
           (unsigned long long)frame_bytes, reads1 > reads0 ? (double)(frames1 - frames0) / (double)(reads1 - reads0) : 0,
           samples_at(&to_last, 0.5), samples_at(&to_last, 0.99), samples_at(&to_ack, 0.5),
           (unsigned long long)ephemeral_frames);
}
