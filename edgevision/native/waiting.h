/* What Linux says of how long threads have run, and have been ready while others ran on their core: proc(5), "schedstat". */
#ifndef EV_WAITING_H
#define EV_WAITING_H

#include "program_os.h"

/* ``known`` is false where there is no such file: another kernel, no /proc, or no permission. */
typedef struct {
    uint64_t ran_ns, waited_ns;
    bool known;
} schedule;

static inline int open_schedule(const char *path) { return open(path, O_RDONLY | O_CLOEXEC); }

/* Of the thread whose schedstat is open as ``file``; it may be read again and again. */
static inline schedule read_schedule(int file) {
    char text[80];
    schedule found = {0};
    const ssize_t length = file < 0 ? -1 : pread(file, text, sizeof text - 1, 0);
    if (length <= 0) return found;
    text[length] = 0;
    found.known = sscanf(text, "%" SCNu64 " %" SCNu64, &found.ran_ns, &found.waited_ns) == 2;
    return found;
}

/* The sum over all threads of this process. */
static inline schedule read_threads(void) {
    schedule all = {0};
    DIR *tasks = opendir("/proc/self/task");
    for (struct dirent *task; tasks && (task = readdir(tasks));) {
        char path[320];
        snprintf(path, sizeof path, "/proc/self/task/%s/schedstat", task->d_name);
        const int file = *task->d_name == '.' ? -1 : open_schedule(path);
        const schedule one = read_schedule(file);
        if (file >= 0) close(file);
        all.ran_ns += one.ran_ns;
        all.waited_ns += one.waited_ns;
        all.known |= one.known;
    }
    if (tasks) closedir(tasks);
    return all;
}

#endif
