/* Moves the constants of a program, its weights among them, from the pages of its file into memory of its own.
 *
 * Which physical pages hold the weights decides what collides in the caches: several per cent of a network's time. The pages of a
 * file stay where they are for as long as they are cached, so every process that runs the file sees the same draw. Pages of its own
 * are drawn anew by every process, and many processes give the average.
 */
#ifndef EV_OWN_PAGES_H
#define EV_OWN_PAGES_H

#include "program_os.h"

/* The new pages take the place of the old ones at once (mremap(2), MREMAP_FIXED), with the same content. Code stays where it is: some
 * systems forbid code outside files. */
static inline bool own_pages_of(uintptr_t start, uintptr_t end) {
    const size_t bytes = end - start;
    void *const copy = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (copy == MAP_FAILED) return false;
    memcpy(copy, (const void *)start, bytes);
    return !mprotect(copy, bytes, PROT_READ) && mremap(copy, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)start) != MAP_FAILED;
}

/* Every segment that is only read; false, with errno, where the system refuses. Call it before there are other threads. */
static inline bool own_pages(void) {
    const ElfW(Phdr) *const headers = (const ElfW(Phdr) *)getauxval(AT_PHDR);
    const size_t count = getauxval(AT_PHNUM);
    const uintptr_t page = (uintptr_t)getauxval(AT_PAGESZ);
    uintptr_t moved_by = 0;
    for (size_t i = 0; i < count; i++) {
        if (headers[i].p_type == PT_PHDR) moved_by = (uintptr_t)headers - headers[i].p_vaddr;
    }
    for (size_t i = 0; i < count; i++) {
        if (headers[i].p_type != PT_LOAD || headers[i].p_flags != PF_R) continue;
        const uintptr_t start = moved_by + headers[i].p_vaddr, end = start + headers[i].p_filesz;
        if (!own_pages_of(start & -page, (end + page - 1) & -page)) return false;
    }
    return true;
}

#endif
