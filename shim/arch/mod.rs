//! What each program of shim's without a C library has: the call of the kernel, its own end,
//! and what the compiler expects of it.

#[cfg_attr(target_arch = "x86_64", path = "x86_64.rs")]
#[cfg_attr(target_arch = "aarch64", path = "aarch64.rs")]
mod cpu;

pub(crate) use cpu::syscall;

/// Ends this process with an exit code: exit_group(2).
pub(crate) fn exit(code: i32) -> ! {
    loop {
        // SAFETY: takes a number only.
        unsafe { syscall(cpu::EXIT_GROUP, code as usize, 0, 0, 0, 0) };
    }
}

/// There is none: what could be out of range is asked for with `get`.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    exit(125)
}

/// The unwind tables of the prebuilt `core` name this symbol. Nothing ever calls it.
// SAFETY: no other object of this program defines the symbol.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}
