/* A qemu-user plugin that counts how often every block of guest code runs, and simulates two levels of data cache.
 *
 *     qemu-aarch64 -plugin cost_plugin.so,out=FILE[,phases=PREFIX][,caches=on] PROGRAM ...
 *
 * A phase begins at the start, whenever a function whose symbol has PREFIX is entered, and at a block whose first
 * instruction is `hint #122`, which no compiler emits ("mark"). FILE holds, as each phase ends,
 *     phase SYMBOL ACCESSES L1_MISSES L2_MISSES      ("-" is what comes before the first; without caches=on all are 0)
 *     BLOCK RUNS                                     for each block that ran in it
 * and at the end "block NUMBER ADDRESS CODE" for each block, the code in hex, and a line "end". For programs of one thread.
 *
 * The prototypes are those of plugin API 1 (qemu 4.2 to 8), written from its documentation, so that no qemu header is
 * needed: qemu.org, "QEMU TCG Plugins".
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORTED __attribute__((visibility("default")))

typedef uint64_t qemu_plugin_id_t;
typedef uint32_t qemu_plugin_meminfo_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_info;
typedef void (*translation_callback)(qemu_plugin_id_t, struct qemu_plugin_tb *);
typedef void (*exit_callback)(qemu_plugin_id_t, void *);
typedef void (*execution_callback)(unsigned, void *);
typedef void (*memory_callback)(unsigned, qemu_plugin_meminfo_t, uint64_t, void *);

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, translation_callback);
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int operation, void *counter, uint64_t by);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, execution_callback, int registers, void *);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *, memory_callback, int registers, int direction, void *);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, exit_callback, void *);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
const char *qemu_plugin_insn_symbol(const struct qemu_plugin_insn *);
unsigned qemu_plugin_mem_size_shift(qemu_plugin_meminfo_t);

enum { ADD_U64 = 0, NO_REGISTERS = 0, READ_WRITE = 3 };

EXPORTED int qemu_plugin_version = 1;

/* --- blocks ----------------------------------------------------------------------------------------------------------- */

/* qemu translates a block again when its buffer is full; an open-addressing table finds the one that it was. */
typedef struct {
    uint64_t address, runs, seen;  /* seen: runs when the last phase ended */
    size_t n_insns;
    uint32_t *code;
} block;

static block **blocks, **table;
static size_t capacity = 1 << 12, used;

static void *allocate(size_t count, size_t bytes) {
    void *memory = calloc(count, bytes);
    if (!memory) {
        fputs("cost_plugin: out of memory\n", stderr);
        exit(1);
    }
    return memory;
}

static block **place_of(uint64_t address, size_t n_insns) {
    size_t at = (size_t)((address >> 2) * 0x9E3779B97F4A7C15ull >> 24) & (capacity - 1);
    while (table[at] && (table[at]->address != address || table[at]->n_insns != n_insns)) at = (at + 1) & (capacity - 1);
    return &table[at];
}

static void make_room(void) {
    if (2 * used < capacity) return;
    block **grown = allocate(capacity, sizeof *grown);
    memcpy(grown, blocks, used * sizeof *grown);
    free(blocks);
    free(table);
    blocks = grown;
    capacity *= 2;
    table = allocate(capacity, sizeof *table);
    for (size_t i = 0; i < used; i++) *place_of(blocks[i]->address, blocks[i]->n_insns) = blocks[i];
}

static block *block_of(const struct qemu_plugin_tb *tb) {
    const uint64_t address = qemu_plugin_tb_vaddr(tb);
    const size_t n_insns = qemu_plugin_tb_n_insns(tb);
    block *found = *place_of(address, n_insns);
    if (found) return found;
    make_room();
    found = allocate(1, sizeof *found);
    *found = (block){.address = address, .n_insns = n_insns, .code = allocate(n_insns, sizeof *found->code)};
    for (size_t i = 0; i < n_insns; i++)
        memcpy(&found->code[i], qemu_plugin_insn_data(qemu_plugin_tb_get_insn(tb, i)), sizeof found->code[i]);
    *place_of(address, n_insns) = blocks[used++] = found;
    return found;
}

/* --- caches: least recently used, 64-byte lines, those of a Cortex-A76 (Arm Cortex-A76 TRM, 1.3: 64 KiB 4-way, and the
 * 512 KiB 8-way choice of its L2) -------------------------------------------------------------------------------------- */

enum { LINE_SHIFT = 6 };

typedef struct {
    uint32_t sets, ways;
    uint64_t *lines, accesses, misses;
} cache;

static cache first = {.sets = 256, .ways = 4}, second = {.sets = 1024, .ways = 8};
static bool with_caches;

/* Lines of a set stand in order of use, the latest first; 0 is an empty way. */
static bool hit(cache *c, uint64_t line) {
    uint64_t *set = c->lines + (line % c->sets) * c->ways;
    uint32_t way = 0;
    while (way < c->ways && set[way] != line + 1) way++;
    const bool found = way < c->ways;
    memmove(set + 1, set, (found ? way : c->ways - 1) * sizeof *set);
    set[0] = line + 1;
    c->accesses++;
    c->misses += !found;
    return found;
}

static void on_memory(unsigned cpu, qemu_plugin_meminfo_t how, uint64_t address, void *nothing) {
    (void)cpu, (void)nothing;
    const uint64_t last = (address + (1ull << qemu_plugin_mem_size_shift(how)) - 1) >> LINE_SHIFT;
    for (uint64_t line = address >> LINE_SHIFT; line <= last; line++)
        if (!hit(&first, line)) hit(&second, line);
}

/* --- the plugin ------------------------------------------------------------------------------------------------------- */

static FILE *out;
static const char *prefix, *phase = "-";

static void end_phase(void) {
    fprintf(out, "phase %s %llu %llu %llu\n", phase, (unsigned long long)first.accesses, (unsigned long long)first.misses,
            (unsigned long long)second.misses);
    first.accesses = first.misses = second.misses = 0;
    for (size_t i = 0; i < used; i++) {
        const uint64_t runs = blocks[i]->runs - blocks[i]->seen;
        if (runs) fprintf(out, "%zu %llu\n", i, (unsigned long long)runs);
        blocks[i]->seen = blocks[i]->runs;
    }
}

/* Called before the block's own run is counted. */
static void on_entry(unsigned cpu, void *symbol) {
    (void)cpu;
    end_phase();
    phase = symbol;
}

static const uint32_t MARK = 0xD503201F | 122 << 5;

/* The block of a function that is translated first is its entry. */
static bool enters(const struct qemu_plugin_tb *tb, const char *symbol) {
    static struct entry {
        struct entry *next;
        const char *symbol;
        uint64_t address;
    } *entries;
    if (!prefix || !symbol || strncmp(symbol, prefix, strlen(prefix))) return false;
    for (const struct entry *e = entries; e; e = e->next)
        if (!strcmp(e->symbol, symbol)) return e->address == qemu_plugin_tb_vaddr(tb);
    struct entry *found = allocate(1, sizeof *found);
    *found = (struct entry){.next = entries, .symbol = strdup(symbol), .address = qemu_plugin_tb_vaddr(tb)};
    entries = found;
    return true;
}

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb *tb) {
    (void)id;
    block *b = block_of(tb);
    const char *symbol = qemu_plugin_insn_symbol(qemu_plugin_tb_get_insn(tb, 0));
    if (b->code[0] == MARK) symbol = "mark";
    if (b->code[0] == MARK || enters(tb, symbol))
        qemu_plugin_register_vcpu_tb_exec_cb(tb, on_entry, NO_REGISTERS, strdup(symbol));
    qemu_plugin_register_vcpu_tb_exec_inline(tb, ADD_U64, &b->runs, 1);
    for (size_t i = 0; with_caches && i < b->n_insns; i++)
        qemu_plugin_register_vcpu_mem_cb(qemu_plugin_tb_get_insn(tb, i), on_memory, NO_REGISTERS, READ_WRITE, NULL);
}

static void at_exit(qemu_plugin_id_t id, void *nothing) {
    (void)id, (void)nothing;
    end_phase();
    for (size_t i = 0; i < used; i++) {
        fprintf(out, "block %zu %llx ", i, (unsigned long long)blocks[i]->address);
        for (size_t n = 0; n < blocks[i]->n_insns; n++) fprintf(out, "%08x", blocks[i]->code[n]);
        fputc('\n', out);
    }
    fputs("end\n", out);
    fclose(out);
}

EXPORTED int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info *info, int argc, char **argv) {
    (void)info;
    for (int i = 0; i < argc; i++) {
        if (!strncmp(argv[i], "out=", 4)) out = fopen(argv[i] + 4, "w");
        else if (!strncmp(argv[i], "phases=", 7)) prefix = strdup(argv[i] + 7);
        else if (!strcmp(argv[i], "caches=on")) with_caches = true;
        else return -1;
    }
    if (!out) return -1;
    blocks = allocate(capacity, sizeof *blocks);
    table = allocate(capacity, sizeof *table);
    first.lines = allocate((size_t)first.sets * first.ways, sizeof *first.lines);
    second.lines = allocate((size_t)second.sets * second.ways, sizeof *second.lines);
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_atexit_cb(id, at_exit, NULL);
    return 0;
}
