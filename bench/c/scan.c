#include "scan.h"

#include <string.h>

#define DEEPEST 32

static const char *blanks(const char *at, const char *end) {
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r')) at++;
    return at;
}

/* Past the closing quote of the string that starts at `at`; NULL: malformed. */
static const char *string_end(const char *at, const char *end) {
    for (at++; at < end; at++) {
        unsigned char c = (unsigned char)*at;
        if (c == '"') return at + 1;
        if (c < 0x20) return NULL;
        if (c == '\\') at++;
    }
    return NULL;
}

static const char *scalar_end(const char *at, const char *end) {
    const char *from = at;
    while (at < end && ((*at >= '0' && *at <= '9') || (*at >= 'a' && *at <= 'z') || *at == '-' || *at == '+' ||
                        *at == '.' || *at == 'E'))
        at++;
    struct span word = {from, (size_t)(at - from)};
    if (!word.size) return NULL;
    if (*from == '-' || (*from >= '0' && *from <= '9')) return at;
    return span_is(word, "true") || span_is(word, "false") || span_is(word, "null") ? at : NULL;
}

/* Past the value that starts at `at`; NULL: malformed, or nested deeper than the server ever does. */
static const char *value_end(const char *at, const char *end, int depth) {
    if (at >= end || depth > DEEPEST) return NULL;
    if (*at == '"') return string_end(at, end);
    if (*at != '{' && *at != '[') return scalar_end(at, end);
    bool object = *at == '{';
    char close = object ? '}' : ']';
    at = blanks(at + 1, end);
    if (at < end && *at == close) return at + 1;
    for (;;) {
        if (object) {
            if (at >= end || *at != '"' || !(at = string_end(at, end))) return NULL;
            at = blanks(at, end);
            if (at >= end || *at != ':') return NULL;
            at = blanks(at + 1, end);
        }
        if (!(at = value_end(at, end, depth + 1))) return NULL;
        at = blanks(at, end);
        if (at >= end) return NULL;
        if (*at == close) return at + 1;
        if (*at != ',') return NULL;
        at = blanks(at + 1, end);
    }
}

static bool start(struct scan *scan, struct span whole, char open) {
    const char *end = whole.at + whole.size, *at = blanks(whole.at, end);
    if (at >= end || *at != open) return false;
    *scan = (struct scan){.at = at + 1, .end = end, .first = true, .array = open == '['};
    return true;
}

bool scan_object(struct scan *scan, struct span whole) { return start(scan, whole, '{'); }

bool scan_array(struct scan *scan, struct span whole) { return start(scan, whole, '['); }

int scan_next(struct scan *scan, struct span *key, struct span *value) {
    const char *end = scan->end, *at = blanks(scan->at, end);
    if (at >= end) return -1;
    if (*at == (scan->array ? ']' : '}')) return blanks(at + 1, end) == end ? 0 : -1;
    if (!scan->first) {
        if (*at != ',') return -1;
        at = blanks(at + 1, end);
    }
    scan->first = false;
    if (!scan->array) {
        const char *close;
        if (at >= end || *at != '"' || !(close = string_end(at, end))) return -1;
        *key = (struct span){at + 1, (size_t)(close - at) - 2};
        at = blanks(close, end);
        if (at >= end || *at != ':') return -1;
        at = blanks(at + 1, end);
    }
    const char *after = value_end(at, end, 0);
    if (!after) return -1;
    *value = (struct span){at, (size_t)(after - at)};
    scan->at = after;
    return 1;
}

bool scan_find(struct span object, const char *key, struct span *value) {
    struct scan scan;
    struct span name, found;
    if (!scan_object(&scan, object)) return false;
    while (scan_next(&scan, &name, &found) == 1)
        if (span_is(name, key)) {
            *value = found;
            return true;
        }
    return false;
}

bool span_is(struct span span, const char *text) {
    size_t size = strlen(text);
    return span.size == size && !memcmp(span.at, text, size);
}

bool span_is_string(struct span value, const char *text) {
    struct span inside;
    return span_string(value, &inside) && span_is(inside, text);
}

bool span_string(struct span value, struct span *inside) {
    if (value.size < 2 || value.at[0] != '"' || memchr(value.at, '\\', value.size)) return false;
    *inside = (struct span){value.at + 1, value.size - 2};
    return true;
}

bool span_number(struct span value, uint64_t *number) {
    uint64_t sum = 0;
    if (!value.size || value.size > 18) return false;
    for (size_t i = 0; i < value.size; i++) {
        if (value.at[i] < '0' || value.at[i] > '9') return false;
        sum = sum * 10 + (uint64_t)(value.at[i] - '0');
    }
    *number = sum;
    return true;
}
