//! What compiled code calls to copy, fill and compare memory: a C library would have it.
//!
//! Volatile, or the compiler would see what each of these loops does and put a call of
//! the function in its place. Nothing here is long enough to be worth more.

/// memcpy(3).
// SAFETY: no other object of this program defines the symbol; it is what C says it is.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    for at in 0..length {
        // SAFETY: the caller promises `length` bytes on both sides.
        let byte = unsafe { from.wrapping_add(at).read_volatile() };
        // SAFETY: as above.
        unsafe { to.wrapping_add(at).write_volatile(byte) };
    }
    to
}

/// memmove(3).
// SAFETY: no other object of this program defines the symbol; it is what C says it is.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    if to.addr() <= from.addr() {
        // SAFETY: from the first byte on, each is read before it is overwritten.
        return unsafe { memcpy(to, from, length) };
    }
    for at in (0..length).rev() {
        // SAFETY: the caller promises `length` bytes on both sides.
        let byte = unsafe { from.wrapping_add(at).read_volatile() };
        // SAFETY: as above.
        unsafe { to.wrapping_add(at).write_volatile(byte) };
    }
    to
}

/// memset(3).
// SAFETY: no other object of this program defines the symbol; it is what C says it is.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, length: usize) -> *mut u8 {
    for at in 0..length {
        // SAFETY: the caller promises `length` bytes.
        unsafe { to.wrapping_add(at).write_volatile(byte as u8) };
    }
    to
}

/// memcmp(3).
// SAFETY: no other object of this program defines the symbol; it is what C says it is.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, length: usize) -> i32 {
    for at in 0..length {
        // SAFETY: the caller promises `length` bytes on both sides.
        let one = unsafe { a.wrapping_add(at).read_volatile() };
        // SAFETY: as above.
        let other = unsafe { b.wrapping_add(at).read_volatile() };
        if one != other {
            return i32::from(one) - i32::from(other);
        }
    }
    0
}

/// bcmp(3): as memcmp, when only the difference matters.
// SAFETY: no other object of this program defines the symbol; it is what C says it is.
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, length: usize) -> i32 {
    // SAFETY: the same promise.
    unsafe { memcmp(a, b, length) }
}
