"""A toy library with weights of its own, linked for any target, right or with one thing wrong."""

import struct
from pathlib import Path

from edgevision import target
from edgevision.link import android, toolchain, zig

TOY = Path(__file__).parent / "toy.c"
EXPORTED = ("ev_get_api", "toy_get_api")


def weights_source(folder, payload):
    """weights.S as the driver writes it: the bytes of a file, 64-byte aligned, hidden."""
    blob, source = folder / "weights.bin", folder / "weights.S"
    blob.write_bytes(payload)
    source.write_text(
        '.section .rodata.toy_weights,"a",%progbits\n.balign 64\n.globl toy_weights\n.hidden toy_weights\n'
        f'toy_weights:\n.incbin "{blob}"\n.section .note.GNU-stack,"",%progbits\n'
    )
    return source


def link(name, folder, *, payload=bytes(range(256)), exported=EXPORTED, **overrides):
    """lib{toy}.so for the target called ``name``, in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    output = folder / "libtoy.so"
    toolchain.link_library(
        target.load(name, **overrides),
        objects=(),
        sources=(TOY, weights_source(folder, payload)),
        output=output,
        exported=exported,
        soname="libtoy.so",
    )
    return output


def link_wrongly(name, folder, *, flags=(), drop=(), source="", libraries=(), target_triple=""):
    """As `link` would, without its gate, with ``flags`` more and the flags ``drop`` left out, after ``source`` in C."""
    folder.mkdir(parents=True, exist_ok=True)
    chosen = target.load(name)
    code, output, exports = folder / "wrong.c", folder / "libtoy.so", folder / "exports.map"
    code.write_text(f'{source}\n#include "{TOY}"\n')
    exports.write_text(f"{{ global: {'; '.join(EXPORTED)}; local: *; }};\n")
    right = [
        *("-O2", "-fPIC", "-fvisibility=hidden", "-fno-sanitize=all", "-shared", "-s", "-Wl,--no-undefined"),
        *("-Wl,-z,relro", "-Wl,-z,now", "-Wl,-z,noexecstack", "-Wl,--hash-style=both", "-Wl,-soname,libtoy.so"),
        *(f"-Wl,-z,max-page-size={chosen.page_bytes}", f"-Wl,--version-script={exports}"),
    ]
    if chosen.arch == "aarch64":
        right += ["-Xarch_aarch64", "-mno-outline-atomics"]
    if unknown := set(drop) - set(right):
        raise ValueError(f"{unknown} cannot be left out")
    right = [flag for flag in right if flag not in drop]
    bionic = android.link_against(folder) if chosen.os == "android" else ("-lm", "-ldl", "-lpthread")
    weights = weights_source(folder, bytes(256))
    zig.run(
        [
            "cc",
            "-target",
            target_triple or chosen.zig_target,
            *right,
            *flags,
            code,
            weights,
            *libraries,
            *bionic,
            "-o",
            output,
        ],
        purpose="linking wrongly",
        scratch=folder / "zig",
    )
    return output


PT_LOAD, PT_GNU_STACK = 1, 0x6474E551


def with_segment(library, kind, flags, *, new_kind=None, new_flags=None):
    """The 64-bit ELF ``library`` with its first program header of that type and flags changed in place."""
    content = bytearray(library.read_bytes())
    (start,) = struct.unpack_from("<Q", content, 32)
    size, count = struct.unpack_from("<HH", content, 54)
    for at in range(start, start + size * count, size):
        if struct.unpack_from("<II", content, at) == (kind, flags):
            struct.pack_into("<II", content, at, new_kind or kind, flags if new_flags is None else new_flags)
            library.write_bytes(content)
            return library
    raise ValueError(f"no segment of type {kind:#x} with flags {flags}")
