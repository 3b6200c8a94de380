//! Tiles of AMX: eight registers of up to 16 rows of 64 bytes, and products of matrices that fit
//! into them.
//!
//! Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18.

use std::arch::asm;
use std::sync::LazyLock;

/// Rows of a tile, and numbers of 32 bits in a row.
pub(super) const TILE: usize = 16;

/// Bytes of a row.
pub(super) const ROW_BYTES: usize = 64;

/// Whether the processor has tiles with products of bf16 and of bytes, and the system lets this
/// process use them. The first call asks the system.
pub(super) fn available() -> bool {
    static AVAILABLE: LazyLock<bool> = LazyLock::new(|| has_tiles() && permitted());
    *AVAILABLE
}

/// Whether the processor has AMX-TILE, AMX-BF16 and AMX-INT8.
fn has_tiles() -> bool {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    const FEATURES: u32 = 1 << 22 | 1 << 24 | 1 << 25;
    __cpuid(0).eax >= 7 && __cpuid_count(7, 0).edx & FEATURES == FEATURES
}

/// Asks Linux for the state of tiles, which it allocates only for processes that have asked.
#[cfg(target_os = "linux")]
fn permitted() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: i64 = 0x1023;
    const XFEATURE_XTILEDATA: i64 = 18;
    let result: i64;
    // SAFETY: the call changes nothing but the permission of this process; the kernel overwrites
    // `rcx` and `r11`.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    result == 0
}

#[cfg(not(target_os = "linux"))]
fn permitted() -> bool {
    false
}

/// The operand of the instruction that configures tiles.
#[repr(C, align(64))]
struct TileConfig([u8; 64]);

/// Configured tiles of this thread, which are released when it is dropped.
pub(super) struct Tiles(());

impl Tiles {
    /// Tiles of these shapes: rows, at most 16, and their bytes, at most 64.
    ///
    /// # Safety
    /// Tiles are [`available`], and this thread has no others.
    pub(super) unsafe fn new(shapes: [(u8, u8); 8]) -> Self {
        let mut config = TileConfig([0; 64]);
        config.0[0] = 1;
        for (tile, (rows, bytes)) in shapes.into_iter().enumerate() {
            config.0[16 + 2 * tile] = bytes;
            config.0[48 + tile] = rows;
        }
        // SAFETY: the shapes are valid ones of palette 1.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &config, options(nostack, preserves_flags, readonly)) };
        Self(())
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: they were configured, so the instruction is there.
        unsafe { asm!("tilerelease", options(nostack, preserves_flags, nomem)) };
    }
}

/// `tile_zero!(TILE)`: sets a tile to zero.
macro_rules! tile_zero {
    ($tile:literal) => {
        std::arch::asm!(concat!("tilezero tmm", $tile), options(nostack, preserves_flags, nomem))
    };
}

/// `tile_load!(TILE, pointer, bytes from row to row)`
macro_rules! tile_load {
    ($tile:literal, $from:expr, $stride:expr) => {
        std::arch::asm!(
            concat!("tileloadd tmm", $tile, ", [{from} + 1 * {stride}]"),
            from = in(reg) $from,
            stride = in(reg) $stride,
            options(nostack, preserves_flags, readonly),
        )
    };
}

/// `tile_store!(TILE, pointer, bytes from row to row)`
macro_rules! tile_store {
    ($tile:literal, $to:expr, $stride:expr) => {
        std::arch::asm!(
            concat!("tilestored [{to} + 1 * {stride}], tmm", $tile),
            to = in(reg) $to,
            stride = in(reg) $stride,
            options(nostack, preserves_flags),
        )
    };
}

/// `tile_dot!("INSTRUCTION", SUMS, A, B)`: adds to each row of `SUMS` the products of this row of
/// `A` with the columns of `B`, whose rows hold neighbouring numbers of each column.
macro_rules! tile_dot {
    ($instruction:literal, $sums:literal, $a:literal, $b:literal) => {
        std::arch::asm!(
            concat!($instruction, " tmm", $sums, ", tmm", $a, ", tmm", $b),
            options(nostack, preserves_flags, nomem),
        )
    };
}

pub(super) use {tile_dot, tile_load, tile_store, tile_zero};
