#include "os.h"

#include "cpu.h"

#if defined(__x86_64__)

#include <cpuid.h>

/* Intel SDM volume 2A, CPUID; AMD APM volume 3, appendix E (0x80000001). `state`: the bits of XCR0 that the operating system must
 * have set to save the registers, SDM volume 1, chapter 13. */
enum { EAX, EBX, ECX, EDX };
enum { LEAF_1, LEAF_7, LEAF_7_1, LEAF_EXTENDED, LEAVES };
enum { NO_STATE = 0, YMM = 0x06, ZMM = 0xE6 };
typedef struct {
    const char *name;
    uint32_t leaf, reg, bit, state;
} feature;
typedef struct {
    uint32_t leaves[LEAVES][4], state;
} processor;

static const feature FEATURES[] = {
    {"sse3", LEAF_1, ECX, 0, NO_STATE},     {"ssse3", LEAF_1, ECX, 9, NO_STATE},
    {"sse4.1", LEAF_1, ECX, 19, NO_STATE},  {"sse4.2", LEAF_1, ECX, 20, NO_STATE},
    {"cx16", LEAF_1, ECX, 13, NO_STATE},    {"popcnt", LEAF_1, ECX, 23, NO_STATE},
    {"movbe", LEAF_1, ECX, 22, NO_STATE},   {"lzcnt", LEAF_EXTENDED, ECX, 5, NO_STATE},
    {"bmi", LEAF_7, EBX, 3, NO_STATE},      {"bmi2", LEAF_7, EBX, 8, NO_STATE},
    {"fma", LEAF_1, ECX, 12, YMM},          {"f16c", LEAF_1, ECX, 29, YMM},
    {"avx", LEAF_1, ECX, 28, YMM},          {"avx2", LEAF_7, EBX, 5, YMM},
    {"avxvnni", LEAF_7_1, EAX, 4, YMM},     {"avx512f", LEAF_7, EBX, 16, ZMM},
    {"avx512cd", LEAF_7, EBX, 28, ZMM},     {"avx512bw", LEAF_7, EBX, 30, ZMM},
    {"avx512dq", LEAF_7, EBX, 17, ZMM},     {"avx512vl", LEAF_7, EBX, 31, ZMM},
    {"avx512ifma", LEAF_7, EBX, 21, ZMM},   {"avx512vbmi", LEAF_7, ECX, 1, ZMM},
    {"avx512vbmi2", LEAF_7, ECX, 6, ZMM},   {"avx512vnni", LEAF_7, ECX, 11, ZMM},
    {"avx512bitalg", LEAF_7, ECX, 12, ZMM}, {"avx512vpopcntdq", LEAF_7, ECX, 14, ZMM},
    {"avx512bf16", LEAF_7_1, EAX, 5, ZMM},  {"avx512fp16", LEAF_7, EDX, 23, ZMM},
    {"avx512vp2intersect", LEAF_7, EDX, 8, ZMM},
};

/* Once for all features: a virtual machine traps each CPUID, which takes 3 us. */
static processor this_processor(void) {
    static const uint32_t numbers[LEAVES][2] = {{1, 0}, {7, 0}, {7, 1}, {0x80000001, 0}}; /* leaf, subleaf */
    const uint32_t osxsave = 1u << 27;
    processor found = {0};
    for (int i = 0; i < LEAVES; i++) {
        uint32_t *reg = found.leaves[i];
        __get_cpuid_count(numbers[i][0], numbers[i][1], &reg[EAX], &reg[EBX], &reg[ECX], &reg[EDX]);
    }
    if (found.leaves[LEAF_1][ECX] & osxsave) {
        uint32_t high;
        __asm__ volatile("xgetbv" : "=a"(found.state), "=d"(high) : "c"(0));
    }
    return found;
}

static bool has(const processor *cpu, const feature *wanted) {
    return (cpu->leaves[wanted->leaf][wanted->reg] >> wanted->bit & 1) && (cpu->state & wanted->state) == wanted->state;
}

#elif defined(__aarch64__) || defined(__arm__)

enum { HWCAP, HWCAP2, WORDS };
typedef struct {
    const char *name;
    unsigned long word, mask;
} feature;

#if defined(__aarch64__)
/* arch/arm64/include/uapi/asm/hwcap.h */
static const feature FEATURES[] = {
    {"fp-armv8", HWCAP, 1ul << 0}, {"neon", HWCAP, 1ul << 1},     {"aes", HWCAP, 3ul << 3}, /* with pmull, as LLVM means it */
    {"sha2", HWCAP, 3ul << 5},     {"crc", HWCAP, 1ul << 7},      {"lse", HWCAP, 1ul << 8},
    {"fullfp16", HWCAP, 3ul << 9}, {"rdm", HWCAP, 1ul << 12},     {"jsconv", HWCAP, 1ul << 13},
    {"complxnum", HWCAP, 1ul << 14}, {"rcpc", HWCAP, 1ul << 15},  {"dotprod", HWCAP, 1ul << 20},
    {"sve", HWCAP, 1ul << 22},     {"fp16fml", HWCAP, 1ul << 23}, {"sve2", HWCAP2, 1ul << 1},
    {"i8mm", HWCAP2, 1ul << 13},   {"bf16", HWCAP2, 1ul << 14},   {"sme", HWCAP2, 1ul << 23},
};
#else
/* arch/arm/include/uapi/asm/hwcap.h */
static const feature FEATURES[] = {
    {"vfp2", HWCAP, 1ul << 6},       {"neon", HWCAP, 1ul << 12},  {"vfp3", HWCAP, 1ul << 13},     {"vfp4", HWCAP, 1ul << 16},
    {"hwdiv-arm", HWCAP, 1ul << 17}, {"hwdiv", HWCAP, 1ul << 18}, {"fullfp16", HWCAP, 3ul << 22}, {"dotprod", HWCAP, 1ul << 24},
};
#endif

typedef struct {
    unsigned long words[WORDS];
} processor;

static processor this_processor(void) { /* AT_HWCAP and AT_HWCAP2 of include/uapi/linux/auxvec.h */
    return (processor){{getauxval(16), getauxval(26)}};
}

static bool has(const processor *cpu, const feature *wanted) { return (cpu->words[wanted->word] & wanted->mask) == wanted->mask; }

#else
#error "no instruction set table for this architecture"
#endif

static bool same(const char *a, const char *b) {
    while (*a && *a == *b) a++, b++;
    return *a == *b;
}

static bool is_there(const processor *cpu, const char *name) {
    for (size_t i = 0; i < sizeof FEATURES / sizeof FEATURES[0]; i++) {
        if (same(FEATURES[i].name, name)) return has(cpu, &FEATURES[i]);
    }
    return false;
}

const char *ev_missing_feature(const char *const *required) {
    const processor cpu = this_processor();
    for (; required && *required; required++) {
        if (!is_there(&cpu, *required)) return *required;
    }
    return NULL;
}
