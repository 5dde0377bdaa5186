#include "opencl_cache.h"

#include "failure.h"
#include "os.h"

#if defined(__ANDROID__)
int open(const char *path, int flags, ...);
int close(int file);
long read(int file, void *into, size_t bytes);
long write(int file, const void *from, size_t bytes);
int rename(const char *from, const char *to);
int unlink(const char *path);
/* include/uapi/asm-generic/fcntl.h */
enum { O_RDONLY = 0, O_WRONLY = 1, O_CREAT = 0100, O_EXCL = 0200, O_CLOEXEC = 02000000 };
#else
#include <fcntl.h>
#include <stdio.h>
#endif

enum { MOST_PATH = 4096 };
static const uint64_t MAGIC = 0x31304c4356454445u; /* "EDEVCL01" */
static const uint64_t MOST_BYTES = 1u << 28;

/* What a file begins with; the compiled kernels follow. Machines that share a folder have one byte order: the key names the device. */
typedef struct {
    uint64_t magic;
    ev_cache_key key;
    uint64_t bytes;
    ev_cache_key content; /* its hash */
} header;

/* FNV-1a, twice with different starts. */
void ev_cache_add(ev_cache_key *key, const void *content, size_t bytes) {
    const unsigned char *from = content;
    for (int which = 0; which < 2; which++) {
        uint64_t hash = key->words[which];
        for (size_t i = 0; i < bytes; i++) hash = (hash ^ from[i]) * 1099511628211u;
        key->words[which] = (hash ^ bytes) * 1099511628211u;
    }
}

static bool same(const ev_cache_key *a, const ev_cache_key *b) { return a->words[0] == b->words[0] && a->words[1] == b->words[1]; }

/* "<folder>/edgevision-<key>.cl" and then `suffix`; false if that is too long. */
static bool path_of(char *path, const char *folder, const ev_cache_key *key, const char *suffix) {
    static const char DIGITS[] = "0123456789abcdef";
    char hash[33] = {0};
    for (int i = 0; i < 32; i++) hash[i] = DIGITS[key->words[i / 16] >> (60 - 4 * (i % 16)) & 15];
    const char *parts[] = {folder, "/edgevision-", hash, ".cl", suffix};
    ev_join(path, MOST_PATH, parts, 5);
    size_t length = 0;
    while (path[length]) length++;
    return length + 1 < MOST_PATH;
}

static bool read_all(int file, void *into, size_t bytes) {
    unsigned char *at = into;
    while (bytes > 0) {
        const long got = read(file, at, bytes);
        if (got <= 0) return false;
        at += got;
        bytes -= (size_t)got;
    }
    return true;
}

static bool write_all(int file, const void *from, size_t bytes) {
    const unsigned char *at = from;
    while (bytes > 0) {
        const long put = write(file, at, bytes);
        if (put <= 0) return false;
        at += put;
        bytes -= (size_t)put;
    }
    return true;
}

static unsigned char *content_of(int file, const ev_cache_key *key, size_t *bytes) {
    header found;
    if (!read_all(file, &found, sizeof found)) return NULL;
    if (found.magic != MAGIC || !same(&found.key, key) || found.bytes == 0 || found.bytes > MOST_BYTES) return NULL;
    unsigned char *content = malloc((size_t)found.bytes);
    if (!content) return NULL;
    ev_cache_key hash = EV_CACHE_KEY_START;
    char beyond;
    if (read_all(file, content, (size_t)found.bytes) && read(file, &beyond, 1) == 0) {
        ev_cache_add(&hash, content, (size_t)found.bytes);
        *bytes = (size_t)found.bytes;
        if (same(&hash, &found.content)) return content;
    }
    free(content);
    return NULL;
}

unsigned char *ev_cache_read(const char *folder, const ev_cache_key *key, size_t *bytes) {
    char path[MOST_PATH];
    if (!path_of(path, folder, key, "")) return NULL;
    const int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return NULL;
    unsigned char *content = content_of(file, key, bytes);
    close(file);
    return content;
}

void ev_cache_write(const char *folder, const ev_cache_key *key, const unsigned char *content, size_t bytes) {
    char path[MOST_PATH], beside[MOST_PATH], suffix[48];
    const char *parts[] = {".", ev_decimal_of((uint64_t)ev_process_id()).digits, ".", ev_decimal_of(ev_now_ns()).digits};
    ev_join(suffix, sizeof suffix, parts, 4);
    if (bytes == 0 || bytes > MOST_BYTES || !path_of(path, folder, key, "") || !path_of(beside, folder, key, suffix)) return;
    header made = {.magic = MAGIC, .key = *key, .bytes = bytes, .content = EV_CACHE_KEY_START};
    ev_cache_add(&made.content, content, bytes);
    const int file = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (file < 0) return;
    const bool written = write_all(file, &made, sizeof made) && write_all(file, content, bytes);
    if (close(file) != 0 || !written || rename(beside, path) != 0) unlink(beside);
}
