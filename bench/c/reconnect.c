/* Everybody comes back in the same moment: connect, sign in with positions, take what was missed. */
#include <stdio.h>
#include <string.h>

#include "load.h"
#include "session.h"

static uint64_t began;
static uint32_t done, troubles;
static uint64_t missed;
static struct samples to_resumed, to_hello;
static char first_trouble[512];

static void ready(struct session *session) {
    (void)session;
    samples_add(&to_hello, (double)(now_ns() - began) / 1e9);
}

static void message(struct session *session, uint64_t seq, struct span frame, struct span text) {
    uint32_t writer;
    uint64_t n;
    (void)frame;
    if (!session_text(session, text, &writer, &n)) return;
    if (writer != session->writer || n != seq || session->resumed)
        session_trouble(session, "seq %llu holds text %llu of writer %u", (unsigned long long)seq, (unsigned long long)n,
                        writer);
    missed++;
}

static void resumed(struct session *session) {
    if (session->next != session->last + 1) {
        session_trouble(session, "resumed at seq %llu, %llu is the last", (unsigned long long)session->next - 1,
                        (unsigned long long)session->last);
        return;
    }
    done++;
    samples_add(&to_resumed, (double)(now_ns() - began) / 1e9);
}

static void trouble(struct session *session, const char *why) {
    if (!troubles++) snprintf(first_trouble, sizeof first_trouble, "session %u: %s", session->index, why);
    for (char *c = first_trouble; *c; c++)
        if (*c == '"' || *c == '\\' || (unsigned char)*c < ' ') *c = '\'';
}

void run_reconnect(const struct options *options) {
    static const struct session_events events = {
        .ready = ready, .message = message, .resumed = resumed, .trouble = trouble};
    sessions_load(options->plan);
    double cpu = cpu_of(options->server), mine = own_cpu();
    began = now_ns();
    sessions_connect(options->port, session_count, 60, &events);
    uint64_t end = began + 60 * SECOND;
    while (done + troubles < session_count && now_ns() < end) conns_turn(100);
    double seconds = (double)(now_ns() - began) / 1e9;
    printf("{\"sessions\": %u, \"resumed\": %u, \"troubles\": %u, \"missed_events\": %llu, \"seconds\": %.3f, "
           "\"server_cpu\": %.3f, \"load_cpu\": %.3f, \"hello_p50_s\": %.3f, \"hello_last_s\": %.3f, "
           "\"resumed_p50_s\": %.3f, \"resumed_last_s\": %.3f, \"first_trouble\": \"%s\"}\n",
           session_count, done, troubles, (unsigned long long)missed, seconds, cpu_of(options->server) - cpu,
           own_cpu() - mine, samples_at(&to_hello, 0.5), samples_at(&to_hello, 1), samples_at(&to_resumed, 0.5),
           samples_at(&to_resumed, 1), first_trouble);
}
