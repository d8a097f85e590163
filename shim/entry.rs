//! Where the kernel enters shim: at what does the plain join without a C library (shim/start),
//! and comes back if it is anything else; then at the C library's own start.

#![allow(unsafe_code)]

use std::arch::global_asm;

/// Lays the code of shim/start behind these instructions, which call it with the stack
/// pointer as the kernel left it, and go on to `_start` with stack and registers as they
/// were: the one that holds a function to be called at exit is zero.
macro_rules! entry {
    ($($instruction:literal)*) => {
        global_asm!(
            ".pushsection .text.shim_start, \"ax\", %progbits",
            ".globl shim_start",
            ".p2align 4",
            "shim_start:",
            $($instruction,)*
            ".p2align 4",
            "2:",
            concat!(".incbin \"", env!("PODKEEL_START"), "\""),
            ".popsection",
        );
    };
}

#[cfg(target_arch = "x86_64")]
entry! {
    "xor ebp, ebp"
    "mov rdi, rsp"
    "call 2f"
    "xor edx, edx"
    "jmp _start"
}

#[cfg(target_arch = "aarch64")]
entry! {
    "mov x29, xzr"
    "mov x30, xzr"
    "mov x0, sp"
    "bl 2f"
    "mov x0, xzr"
    "b _start"
}
