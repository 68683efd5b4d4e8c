#define _GNU_SOURCE
#include "session.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct session *sessions;
uint32_t session_count;
uint64_t ephemeral_frames;

static const struct session_events *hooks;
static uint32_t started, waiting;
static bool bare;

static const char *const EPHEMERAL[] = {"presence",     "typing.start",     "typing.stop",
                                        "message.read", "message.received", "user.updated"};

void session_trouble(struct session *session, const char *format, ...) {
    char why[512];
    va_list args;
    va_start(args, format);
    vsnprintf(why, sizeof why, format, args);
    va_end(args);
    if (!hooks->trouble) fail("session %u: %s", session->index, why);
    hooks->trouble(session, why);
}

static void surprise(struct session *session, const char *what, struct span frame) {
    session_trouble(session, "%s: %.*s", what, (int)(frame.size < 300 ? frame.size : 300), frame.at);
}

void sessions_load(const char *path) {
    FILE *file = fopen(path, "r");
    if (!file) fail("%s: %s", path, strerror(errno));
    char *line = NULL;
    size_t room = 0, space = 0;
    while (getline(&line, &room, file) > 0) {
        char *field[6], *rest = line;
        line[strcspn(line, "\n")] = 0;
        for (int i = 0; i < 6; i++)
            if (!(field[i] = strsep(&rest, "\t"))) fail("%s: line %u is short", path, session_count + 1);
        if (session_count == space) {
            space = space ? space * 2 : 1024;
            sessions = grow(sessions, space * sizeof *sessions);
        }
        sessions[session_count] = (struct session){
            .index = session_count,
            .token = strdup(field[0]),
            .conversation = strdup(field[1]),
            .writer = (uint32_t)strtoul(field[2], NULL, 10),
            .next = strtoull(field[3], NULL, 10),
            .last = strtoull(field[4], NULL, 10),
            .extras = strdup(strcmp(field[5], "-") ? field[5] : ""),
        };
        session_count++;
    }
    free(line);
    fclose(file);
    if (!session_count) fail("%s: no sessions", path);
}

static void opened(struct conn *conn) {
    struct session *session = (struct session *)conn;
    if (bare) {
        session->ready = true;
        session->next = 1;
        waiting--;
        return;
    }
    char frame[8192];
    int size = snprintf(frame, sizeof frame, "{\"type\":\"sign_in\",\"token\":\"%s\"%s%s}", session->token,
                        *session->extras ? "," : "", session->extras);
    if (size >= (int)sizeof frame) fail("a sign-in frame of %d bytes", size);
    conn_send(conn, frame, (size_t)size);
}

static void gone(struct conn *conn, const char *why) {
    struct session *session = (struct session *)conn;
    if (!session->ready) waiting--;
    session_trouble(session, "%s", why);
}

static void hello(struct session *session, struct span frame) {
    struct span heads, head, none, value;
    struct scan list;
    if (session->ready) {
        surprise(session, "a second hello", frame);
        return;
    }
    if (!session->next) {
        if (!scan_find(frame, "heads", &heads) || !scan_array(&list, heads)) {
            surprise(session, "a hello without heads", frame);
            return;
        }
        while (scan_next(&list, &none, &head) == 1)
            if (scan_find(head, "conversation", &value) && span_is_string(value, session->conversation) &&
                scan_find(head, "seq", &value) && span_number(value, &session->next))
                session->next++;
        if (!session->next) {
            surprise(session, "a hello that does not name the conversation", frame);
            return;
        }
    }
    session->ready = true;
    waiting--;
    if (hooks->ready) hooks->ready(session);
}

static void message(struct session *session, struct span frame) {
    struct scan scan;
    struct span key, value, conversation = {0}, body = {0}, content, kind, text;
    uint64_t seq = 0;
    int more;
    scan_object(&scan, frame);
    while ((more = scan_next(&scan, &key, &value)) == 1) {
        if (span_is(key, "conversation")) conversation = value;
        else if (span_is(key, "body")) body = value;
        else if (span_is(key, "seq") && !span_number(value, &seq)) more = -1;
        if (more < 0) break;
    }
    if (more < 0 || !span_is_string(conversation, session->conversation) || !scan_find(body, "content", &content) ||
        !scan_find(content, "type", &kind) || !span_is_string(kind, "text") || !scan_find(content, "text", &text) ||
        !span_string(text, &text)) {
        surprise(session, "not a message of this bench", frame);
        return;
    }
    if (seq != session->next) {
        session_trouble(session, "seq %llu came where %llu was due", (unsigned long long)seq,
                        (unsigned long long)session->next);
        return;
    }
    session->next++;
    hooks->message(session, seq, frame, text);
}

static void acknowledged(struct session *session, struct span frame) {
    struct span ref, result, value;
    uint64_t number, seq;
    if (!hooks->ack || !scan_find(frame, "ref", &ref) || !span_string(ref, &ref) || !span_number(ref, &number) ||
        !scan_find(frame, "result", &result) || !scan_find(result, "seq", &value) || !span_number(value, &seq) ||
        !scan_find(result, "conversation", &value) || !span_is_string(value, session->conversation)) {
        surprise(session, "not an acknowledgement of this bench", frame);
        return;
    }
    hooks->ack(session, number, seq);
}

static void received(struct conn *conn, const char *text, size_t size) {
    struct session *session = (struct session *)conn;
    struct span frame = {text, size}, key, type;
    struct scan scan;
    if (hooks->raw && session->ready && hooks->raw(session, text, size)) return;
    if (!scan_object(&scan, frame) || scan_next(&scan, &key, &type) != 1 || !span_is(key, "type")) {
        surprise(session, "a frame that does not begin with its type", frame);
        return;
    }
    if (span_is_string(type, "message.new")) {
        message(session, frame);
    } else if (span_is_string(type, "ack")) {
        acknowledged(session, frame);
    } else if (span_is_string(type, "hello")) {
        hello(session, frame);
    } else if (span_is_string(type, "resumed")) {
        session->resumed = true;
        if (hooks->resumed) hooks->resumed(session);
    } else {
        for (size_t i = 0; i < sizeof EPHEMERAL / sizeof *EPHEMERAL; i++)
            if (span_is_string(type, EPHEMERAL[i])) {
                ephemeral_frames++;
                return;
            }
        surprise(session, "a frame that nobody asked for", frame);
    }
}

static void connect_all(int port, uint32_t at_once, double within_s) {
    static const struct conn_events events = {opened, received, gone};
    uint64_t deadline = now_ns() + (uint64_t)(within_s * (double)SECOND);
    conns_start(port, "/v1/ws", &events);
    while (started < session_count || waiting) {
        while (started < session_count && waiting < at_once) {
            waiting++;
            conn_connect(&sessions[started++].conn);
        }
        conns_turn(100);
        if (now_ns() > deadline) fail("only %u of %u sessions were greeted in %.0f s", started - waiting, session_count, within_s);
    }
}

void sessions_connect(int port, uint32_t at_once, double within_s, const struct session_events *events) {
    hooks = events;
    connect_all(port, at_once, within_s);
}

void sessions_connect_bare(int port, const struct session_events *events) {
    bare = true;
    hooks = events;
    connect_all(port, 200, 30);
}

void sessions_close(void) {
    for (uint32_t i = 0; i < session_count; i++) conn_close(&sessions[i].conn);
}

void session_publish(struct session *session, const char *run, uint32_t writer, uint64_t n) {
    char frame[1024], text[TEXT_SIZE];
    text_of(writer, n, text);
    int size = snprintf(frame, sizeof frame,
                        "{\"type\":\"message.send\",\"ref\":\"%llu\",\"client_id\":\"%s-%u-%llu\",\"conversation\":\"%s\","
                        "\"content\":{\"type\":\"text\",\"text\":\"%.*s\"}}",
                        (unsigned long long)n, run, writer, (unsigned long long)n, session->conversation, TEXT_SIZE, text);
    if (size >= (int)sizeof frame) fail("a send frame of %d bytes", size);
    conn_send(&session->conn, frame, (size_t)size);
}

bool session_text(struct session *session, struct span text, uint32_t *writer, uint64_t *n) {
    char head[20], right[TEXT_SIZE];
    unsigned who;
    unsigned long long which;
    if (text.size == TEXT_SIZE) {
        memcpy(head, text.at, 19);
        head[18] = 0;
        if (sscanf(head, "s%5u n%10llu", &who, &which) == 2) {
            text_of(who, which, right);
            if (!memcmp(right, text.at, TEXT_SIZE)) {
                *writer = who;
                *n = which;
                return true;
            }
        }
    }
    surprise(session, "a text that nobody wrote", text);
    return false;
}
