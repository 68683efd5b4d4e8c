#define _GNU_SOURCE
#include "common.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

void fail(const char *format, ...) {
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(2);
}

void *need(size_t size) { return grow(NULL, size); }

void *grow(void *old, size_t size) {
    void *got = realloc(old, size ? size : 1);
    if (!got) fail("out of memory");
    return got;
}

/* Common words, so that an index of the words meets what it would meet in life.  bench/plan.py has
   the same list and the same rule. */
static const char *const WORDS[32] = {
    "the",  "morning", "we",   "should", "bring", "coffee", "and",    "read",  "about", "rivers", "today",
    "when", "you",     "have", "time",   "to",    "answer", "please", "look",  "at",    "second", "page",
    "of",   "our",     "plan", "it",     "says",  "where",  "they",   "train", "stops", "for",
};

void text_of(uint32_t writer, uint64_t n, char out[TEXT_SIZE]) {
    char head[32];
    int size = snprintf(head, sizeof head, "s%05u n%010llu", writer, (unsigned long long)n);
    memcpy(out, head, (size_t)size);
    size_t used = (size_t)size;
    uint32_t x = (uint32_t)n * 2654435761u + writer;
    while (used < TEXT_SIZE) {
        x = x * 1103515245u + 12345u;
        const char *word = WORDS[x >> 27];
        out[used++] = ' ';
        for (; *word && used < TEXT_SIZE; word++) out[used++] = *word;
    }
    out[TEXT_SIZE - 1] = '.';
}

double cpu_of(pid_t pid) {
    char path[64], line[2048];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "r");
    if (!file) fail("process %d is gone", (int)pid);
    size_t size = fread(line, 1, sizeof line - 1, file);
    fclose(file);
    line[size] = 0;
    unsigned long user, system;
    char *past = strrchr(line, ')');
    if (!past || sscanf(past + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2)
        fail("cannot read %s", path);
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

void samples_add(struct samples *samples, double value) {
    if (samples->count == samples->room) {
        samples->room = samples->room ? samples->room * 2 : 4096;
        samples->at = grow(samples->at, samples->room * sizeof *samples->at);
    }
    samples->at[samples->count++] = (float)value;
}

static int ascending(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

double samples_at(struct samples *samples, double share) {
    if (!samples->count) return 0;
    qsort(samples->at, samples->count, sizeof *samples->at, ascending);
    double place = share * (double)samples->count;
    size_t rank = (size_t)place + ((double)(size_t)place < place);
    return samples->at[(rank ? rank : 1) - 1];
}
