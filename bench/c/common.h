/* Time, failure, numbers in bulk, and the text that every message of a bench holds. */
#ifndef COMMON_H
#define COMMON_H
#include <stdint.h>
#include <stddef.h>
#include <sys/types.h>

#define SECOND 1000000000ull
#define TEXT_SIZE 200

uint64_t now_ns(void);

/* Say why on standard error and end with status 2: a figure from a run that went wrong is worth nothing. */
__attribute__((noreturn, format(printf, 1, 2))) void fail(const char *format, ...);

void *need(size_t size);
void *grow(void *old, size_t size);

/* The one text that message `n` of writer `writer` has: TEXT_SIZE printable characters, no quotes. */
void text_of(uint32_t writer, uint64_t n, char out[TEXT_SIZE]);

/* CPU seconds that a process has used so far, user and system, in all its threads. */
double cpu_of(pid_t pid);

struct samples {
    float *at;
    size_t count, room;
};
void samples_add(struct samples *samples, double value);
/* The smallest sample that `share` (0 to 1) of all samples do not exceed; sorts; 0 for no samples. */
double samples_at(struct samples *samples, double share);
#endif
