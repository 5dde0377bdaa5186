/* What a program asks of the C library beside the runtime: headers, or on Android, which has none in the build, declarations.
 *
 * As in os.h, nothing has a layout that differs between bionic and glibc, under which the tests run Android's programs. */
#ifndef EV_PROGRAM_OS_H
#define EV_PROGRAM_OS_H

#include "os.h"

#if defined(__ANDROID__)

/* Which functions of libc.so these are stands in edgevision/link/bionic.toml. */
void *calloc(size_t count, size_t bytes);
_Noreturn void exit(int status);
long strtol(const char *text, char **end, int base);
double strtod(const char *text, char **end);
void qsort(void *items, size_t count, size_t bytes, int (*compare)(const void *, const void *));
int strcmp(const char *a, const char *b);
char *strtok_r(char *text, const char *delimiters, char **rest);
char *strerror(int number);

int *__errno(void);
#define errno (*__errno())

typedef struct __sFILE FILE;
extern FILE *stdout, *stderr;
#define EOF (-1)
FILE *fopen(const char *path, const char *mode);
int fclose(FILE *file);
size_t fread(void *to, size_t bytes, size_t count, FILE *file);
size_t fwrite(const void *from, size_t bytes, size_t count, FILE *file);
char *fgets(char *to, int bytes, FILE *file);
int fgetc(FILE *file);
int fflush(FILE *file);
int ferror(FILE *file);
int putchar(int character);
__attribute__((format(printf, 1, 2))) int printf(const char *format, ...);
__attribute__((format(printf, 2, 3))) int fprintf(FILE *file, const char *format, ...);
__attribute__((format(printf, 3, 4))) int snprintf(char *to, size_t bytes, const char *format, ...);
__attribute__((format(scanf, 2, 3))) int sscanf(const char *text, const char *format, ...);
#define PRIu64 "lu"
#define SCNu64 "lu"

typedef int clockid_t;
#define CLOCK_BOOTTIME 7

typedef long ssize_t;
#define O_RDONLY 0
#define O_CLOEXEC 02000000
int open(const char *path, int flags, ...);
int close(int file);
ssize_t pread(int file, void *to, size_t bytes, long offset);

typedef struct DIR DIR;
struct dirent {
    uint64_t d_ino;
    int64_t d_off;
    unsigned short d_reclen;
    unsigned char d_type;
    char d_name[256];
};
DIR *opendir(const char *path);
struct dirent *readdir(DIR *folder);
int closedir(DIR *folder);

#define PROT_READ 1
#define PROT_WRITE 2
#define MAP_PRIVATE 2
#define MAP_ANONYMOUS 32
#define MAP_FAILED ((void *)-1)
#define MREMAP_MAYMOVE 1
#define MREMAP_FIXED 2
void *mmap(void *at, size_t bytes, int protection, int flags, int file, long offset);
int mprotect(void *at, size_t bytes, int protection);
void *mremap(void *from, size_t bytes, size_t new_bytes, int flags, ...);

#define AT_PHDR 3
#define AT_PHNUM 5
#define AT_PAGESZ 6
#define PT_LOAD 1
#define PT_PHDR 6
#define PF_R 4
typedef struct {
    uint32_t p_type, p_flags;
    uint64_t p_offset, p_vaddr, p_paddr, p_filesz, p_memsz, p_align;
} Elf64_Phdr;
#define ElfW(type) Elf64_##type

#else

#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <link.h>
#include <stdio.h>
#include <sys/auxv.h>
#include <sys/mman.h>

#endif

#endif
