/* The fake driver's modules: cubins and PTX, their functions and how many arguments these take. */
#ifndef FAKE_MODULES_H
#define FAKE_MODULES_H

#include "fake_objects.h"

static const Elf64_Shdr *section(const char *image, const char *name) {
    const Elf64_Ehdr *header = (const void *)image;
    const Elf64_Shdr *sections = (const void *)(image + header->e_shoff);
    const char *strings = image + sections[header->e_shstrndx].sh_offset;
    for (int i = 0; i < header->e_shnum; i++) {
        if (!strcmp(strings + sections[i].sh_name, name)) return &sections[i];
    }
    return NULL;
}

EXPORT int cuModuleLoadDataEx(object **module, const char *image, unsigned count, const int *options, void **values) {
    NEEDS_CONTEXT();
    EXPECT(image && count == 2 && options[0] == 5 && options[1] == 6 && values[0] && (uintptr_t)values[1] >= 256);
    const int code = failing(__func__);
    if (code == 209) strcpy(values[0], "\nptxas fatal: no such thing\nmore\n");
    if (code) return code;
    if (!memcmp(image, ELFMAG, SELFMAG)) {
        const Elf64_Ehdr *header = (const void *)image;
        EXPECT((uintptr_t)image % 8 == 0);
        if (header->e_machine != EM_CUDA) return INVALID_IMAGE;
        EXPECT((int)(header->e_flags & 0xFF) == capability(0)); /* a cubin is for one compute capability alone */
    } else if (!strstr(image, ".version") || !strstr(image, ".address_size 64")) {
        return INVALID_IMAGE;
    }
    *module = make(MODULE, NULL);
    (*module)->image = image;
    return 0;
}

EXPORT int cuModuleUnload(object *module) {
    NEEDS_CONTEXT();
    drop(live(module, MODULE));
    return failing(__func__);
}

/* The kernel's parameters behind what every kernel has in its bank of constants: 0x160 bytes, from compute capability 9.0 on 0x210. */
static int arguments_in_cubin(const char *image, const char *name) {
    char wanted[600];
    snprintf(wanted, sizeof wanted, ".nv.constant0.%s", name);
    const Elf64_Shdr *found = section(image, wanted);
    EXPECT(found != NULL);
    const Elf64_Ehdr *header = (const void *)image;
    return (int)(found->sh_size - ((header->e_flags & 0xFF) >= 90 ? 0x210 : 0x160)) / 8;
}

static int arguments_in_ptx(const char *image, const char *name, unsigned *most) {
    char wanted[600];
    int count = 0;
    snprintf(wanted, sizeof wanted, ".entry %s(", name);
    const char *found = strstr(image, wanted);
    EXPECT(found != NULL);
    const char *end = strchr(found, ')'), *body = strchr(found, '{'), *limit = strstr(found, ".maxntid ");
    for (const char *at = found; (at = strstr(at, ".param .u64")) && at < end; at++) count++;
    if (limit && limit < body) *most = (unsigned)strtoul(limit + strlen(".maxntid "), NULL, 10);
    return count;
}

EXPORT int cuModuleGetFunction(object **function, object *module, const char *name) {
    NEEDS_CONTEXT();
    FAIL_IF_ASKED();
    object *m = live(module, MODULE);
    object *f = make(FUNCTION, m);
    f->functions = m->functions;
    m->functions = f;
    freed[FUNCTION]++; /* it goes with its module */
    EXPECT(strlen(name) < sizeof f->name - 8);
    strcpy(f->name, name);
    f->most = 1024;
    f->n_arguments = !memcmp(m->image, ELFMAG, SELFMAG) ? arguments_in_cubin(m->image, name) : arguments_in_ptx(m->image, name, &f->most);
    EXPECT(f->n_arguments > 0 && f->n_arguments <= MOST_ARGUMENTS);
    const char *kernels = getenv("EV_FAKE_CUDA_KERNELS");
    if (kernels) {
        void *library = dlopen(kernels, RTLD_NOW);
        if (!library) refuse(__func__, dlerror());
        char symbol[600];
        snprintf(symbol, sizeof symbol, "%s_on_cpu", name);
        *(void **)&f->run = dlsym(library, symbol);
        EXPECT(f->run != NULL);
    }
    *function = f;
    return 0;
}

#endif
