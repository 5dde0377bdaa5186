#include "os.h"

#include "cpu.h"

#if defined(__x86_64__)

#include <cpuid.h>

/* Intel SDM volume 2A, CPUID; AMD APM volume 3, appendix E (0x80000001). `state`: the bits of XCR0 that the operating system must
 * have set to save the registers, SDM volume 1, chapter 13. */
enum { EAX, EBX, ECX, EDX };
enum { NO_STATE = 0, YMM = 0x06, ZMM = 0xE6 };
typedef struct {
    const char *name;
    uint32_t leaf, subleaf, reg, bit, state;
} feature;

static const feature FEATURES[] = {
    {"sse3", 1, 0, ECX, 0, NO_STATE},         {"ssse3", 1, 0, ECX, 9, NO_STATE},
    {"sse4.1", 1, 0, ECX, 19, NO_STATE},      {"sse4.2", 1, 0, ECX, 20, NO_STATE},
    {"cx16", 1, 0, ECX, 13, NO_STATE},        {"popcnt", 1, 0, ECX, 23, NO_STATE},
    {"movbe", 1, 0, ECX, 22, NO_STATE},       {"lzcnt", 0x80000001, 0, ECX, 5, NO_STATE},
    {"bmi", 7, 0, EBX, 3, NO_STATE},          {"bmi2", 7, 0, EBX, 8, NO_STATE},
    {"fma", 1, 0, ECX, 12, YMM},              {"f16c", 1, 0, ECX, 29, YMM},
    {"avx", 1, 0, ECX, 28, YMM},              {"avx2", 7, 0, EBX, 5, YMM},
    {"avxvnni", 7, 1, EAX, 4, YMM},           {"avx512f", 7, 0, EBX, 16, ZMM},
    {"avx512cd", 7, 0, EBX, 28, ZMM},         {"avx512bw", 7, 0, EBX, 30, ZMM},
    {"avx512dq", 7, 0, EBX, 17, ZMM},         {"avx512vl", 7, 0, EBX, 31, ZMM},
    {"avx512ifma", 7, 0, EBX, 21, ZMM},       {"avx512vbmi", 7, 0, ECX, 1, ZMM},
    {"avx512vbmi2", 7, 0, ECX, 6, ZMM},       {"avx512vnni", 7, 0, ECX, 11, ZMM},
    {"avx512bitalg", 7, 0, ECX, 12, ZMM},     {"avx512vpopcntdq", 7, 0, ECX, 14, ZMM},
    {"avx512bf16", 7, 1, EAX, 5, ZMM},        {"avx512fp16", 7, 0, EDX, 23, ZMM},
    {"avx512vp2intersect", 7, 0, EDX, 8, ZMM},
};

static uint32_t saved_state(void) {
    const uint32_t osxsave = 1u << 27;
    uint32_t reg[4], low, high;
    if (!__get_cpuid(1, &reg[EAX], &reg[EBX], &reg[ECX], &reg[EDX]) || !(reg[ECX] & osxsave)) return 0;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

static bool has(const feature *wanted) {
    uint32_t reg[4];
    if (!__get_cpuid_count(wanted->leaf, wanted->subleaf, &reg[EAX], &reg[EBX], &reg[ECX], &reg[EDX])) return false;
    return (reg[wanted->reg] >> wanted->bit & 1) && (saved_state() & wanted->state) == wanted->state;
}

#elif defined(__aarch64__) || defined(__arm__)

enum { HWCAP = 16, HWCAP2 = 26 }; /* include/uapi/linux/auxvec.h */
typedef struct {
    const char *name;
    unsigned long vector, mask;
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

static bool has(const feature *wanted) { return (getauxval(wanted->vector) & wanted->mask) == wanted->mask; }

#else
#error "no instruction set table for this architecture"
#endif

static bool same(const char *a, const char *b) {
    while (*a && *a == *b) a++, b++;
    return *a == *b;
}

static bool is_there(const char *name) {
    for (size_t i = 0; i < sizeof FEATURES / sizeof FEATURES[0]; i++) {
        if (same(FEATURES[i].name, name)) return has(&FEATURES[i]);
    }
    return false;
}

const char *ev_missing_feature(const char *const *required) {
    for (; required && *required; required++) {
        if (!is_there(*required)) return *required;
    }
    return NULL;
}
