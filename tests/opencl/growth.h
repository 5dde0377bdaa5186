/* How much memory a process takes, so that two moments can be compared. */
#include <malloc.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

/* mallinfo2 is younger than the oldest C library that programs here are linked for; 2 GB are enough to compare. */
#pragma clang diagnostic ignored "-Wdeprecated-declarations"

typedef struct {
    long resident_kb, heap_bytes;
} taken;

static taken look(void) {
    long whole = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%ld %ld", &whole, &resident) != 2) resident = 0;
    if (file) fclose(file);
    return (taken){resident * (sysconf(_SC_PAGESIZE) / 1024), mallinfo().uordblks};
}

/* The least of some looks: a driver's threads end a little after the session that they worked for. */
static taken settled(void) {
    taken least = look();
    for (int i = 0; i < 20; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
        const taken now = look();
        if (now.resident_kb < least.resident_kb) least.resident_kb = now.resident_kb;
        if (now.heap_bytes < least.heap_bytes) least.heap_bytes = now.heap_bytes;
    }
    return least;
}

static void print_growth(taken before) {
    const taken now = settled();
    printf("grew: %ld kB resident, %ld bytes of heap\n", now.resident_kb - before.resident_kb, now.heap_bytes - before.heap_bytes);
}
