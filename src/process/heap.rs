//! How this process takes memory from the system.

/// Has every thread take memory from one heap. By default the C library gives each thread one of its own, for threads
/// that allocate all at once; ours do one after the other what takes time, and would keep their pages.
pub fn share_one_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it sets a number in the C library's allocator, which guards it by a lock. What it returns says whether the
    // number was taken; if not, everything is as it was.
    unsafe {
        nix::libc::mallopt(nix::libc::M_ARENA_MAX, 1);
    }
}
