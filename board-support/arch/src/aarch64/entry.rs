//! The first instructions: EL1 with MMU and caches off, to Rust with both on.
//!
//! Xen starts the vCPU at the image's first byte with `x0` = device tree, SCTLR_EL1 = 0xc50078, exceptions
//! masked. Two blocks of 1 GiB from the image on are
//! mapped to themselves with everything allowed; `paging` replaces that before the domain runs.
//!
//! Order: the boot tables are written with caches off and their lines dropped; then the MMU goes on,
//! and everything else (relocations, zeroed data) is done with caches on, as Xen wrote the image.
//! The prebuilt `core` holds absolute addresses, hence the relocations.
//! Source: Linux `Documentation/arch/arm64/booting.rst` for the header.

use core::arch::global_asm;

global_asm!(
    r#"
.section .note.Xen, "a", @note
    .balign 4
    .long 7, 4, 1           /* the most vCPUs that the image runs on */
    .asciz "Sarsen"
    .balign 4
    .long 1

.section .text.entry, "ax", @progbits
.globl __start
__start:
    b       .Lentry
    .long   0
    .quad   0                       /* text offset */
    .quad   __image_end - __start   /* image size */
    .quad   0xa                     /* little endian, 4 KiB pages, anywhere */
    .quad   0, 0, 0
    .ascii  "ARM\x64"
    .long   0

.Lentry:
    mrs     x21, cntpct_el0         /* before anything else: when the domain began */
    msr     daifset, #15
    mov     x20, x0                 /* argument */

    /* Vector registers may be used from here on: FPEN. */
    mov     x1, #(3 << 20)
    msr     cpacr_el1, x1
    isb

    /* Level 0: entry 0 is the table of level 1. */
    adrp    x1, .Lboot_l0
    adrp    x2, .Lboot_l1
    orr     x3, x2, #3
    str     x3, [x1]
    /* Level 1: two blocks of normal memory from the image's GiB on.
       0x711: block, attribute index 4 (see MAIR), inner shareable, accessed. */
    adrp    x3, __start
    lsr     x4, x3, #30
    lsl     x5, x4, #30
    mov     x6, #0x711
    orr     x5, x5, x6
    add     x7, x2, x4, lsl #3
    str     x5, [x7]
    mov     x8, #(1 << 30)
    add     x5, x5, x8
    str     x5, [x7, #8]
    /* Whatever the caches hold of the two tables is older than that. */
    dsb     sy
    mov     x5, x1
    add     x6, x1, #8192
1:  dc      ivac, x5
    add     x5, x5, #16
    cmp     x5, x6
    b.lo    1b
    dsb     sy

    ldr     x5, ={mair}
    msr     mair_el1, x5
    ldr     x5, ={tcr}
    msr     tcr_el1, x5
    msr     ttbr0_el1, x1
    isb
    tlbi    vmalle1
    dsb     nsh
    isb
    mrs     x5, sctlr_el1
    mov     x6, #0x1005             /* I, C, M */
    orr     x5, x5, x6
    msr     sctlr_el1, x5
    isb

    /* Relocations: offset, type, addend. Only R_AARCH64_RELATIVE (1027) is there. */
    adrp    x1, __start
    adrp    x2, __rela_start
    add     x2, x2, :lo12:__rela_start
    adrp    x3, __rela_end
    add     x3, x3, :lo12:__rela_end
2:  cmp     x2, x3
    b.hs    3f
    ldp     x4, x5, [x2], #16
    ldr     x6, [x2], #8
    cmp     w5, #1027
    b.ne    2b
    add     x6, x6, x1
    str     x6, [x4, x1]
    b       2b

3:  /* Neither Xen's loader of dom0 nor the image file has zeros for it. */
    adrp    x2, __bss_start
    adrp    x3, __bss_end
4:  cmp     x2, x3
    b.hs    5f
    stp     xzr, xzr, [x2], #16
    b       4b

5:  adrp    x2, __stack_top
    mov     sp, x2
    /* A frame whose caller is nobody ends every backtrace. */
    stp     xzr, xzr, [sp, #-16]!
    mov     x29, sp
    mov     x30, xzr
    mov     x0, x20
    mov     x1, x21
    bl      {start}
    brk     #1
    .ltorg

.section .data.boot_tables, "aw", @progbits
    .balign 4096
.Lboot_l0: .skip 4096
.Lboot_l1: .skip 4096
.text
"#,
    mair = const super::paging::MAIR,
    tcr = const super::paging::TCR,
    start = sym super::start::from_assembly,
);
