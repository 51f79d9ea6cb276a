//! The first instructions: 32-bit protected mode without paging to 64-bit mode.
//!
//! Xen starts the vCPU with flat segments, interrupts off, and the address of the start info in
//! `ebx`. The first 4 GiB are mapped to themselves here with everything allowed; `paging` replaces
//! that before the domain runs. Source: Xen `docs/misc/pvh.pandoc`.

use core::arch::global_asm;

use proto_xen::start_info::NOTE_PHYS32_ENTRY;

global_asm!(
    r#"
.section .note.Xen, "a", @note
    .balign 4
    .long 4, 4, {phys32_entry}
    .asciz "Xen"
    .balign 4
    .long __start32
    .long 7, 4, 1           /* the most vCPUs that the image runs on */
    .asciz "Sarsen"
    .balign 4
    .long 1

.section .text.entry, "ax", @progbits
.code32
.globl __start32
__start32:
    rdtsc                   /* before anything else: when the domain began */
    cli
    cld
    movl $__stack_top, %esp
    movl %ebx, %ebp
    movl %eax, %esi
    movl %edx, %ebx

    /* 2048 pages of 2 MiB: present, writable, large. */
    movl $.Lboot_pd, %edi
    movl $0x83, %eax
    movl $2048, %ecx
1:  movl %eax, (%edi)
    movl $0, 4(%edi)
    addl $8, %edi
    addl $0x200000, %eax
    decl %ecx
    jnz 1b
    /* The four tables that hold them. */
    movl $.Lboot_pdpt, %edi
    movl $.Lboot_pd + 3, %eax
    movl $4, %ecx
2:  movl %eax, (%edi)
    movl $0, 4(%edi)
    addl $8, %edi
    addl $4096, %eax
    decl %ecx
    jnz 2b
    movl $.Lboot_pdpt + 3, .Lboot_pml4
    movl $0, .Lboot_pml4 + 4

    movl %cr4, %eax
    orl $0x20, %eax         /* PAE */
    movl %eax, %cr4
    movl $.Lboot_pml4, %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx  /* EFER: LME, NXE */
    rdmsr
    orl $0x900, %eax
    wrmsr
    movl %cr0, %eax
    orl $0x80010001, %eax   /* PG, WP, PE */
    movl %eax, %cr0
    lgdt .Lboot_gdtr
    ljmp $8, $3f

.code64
3:  movl $16, %eax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    xorl %eax, %eax
    movw %ax, %fs
    movw %ax, %gs
    movl %ebp, %edi
    xorl %ebp, %ebp
    /* The counter, from its halves; these moves clear the upper ones. */
    movl %esi, %esi
    movl %ebx, %ebx
    shlq $32, %rbx
    orq %rbx, %rsi
    /* A frame whose caller is nobody ends every backtrace. */
    pushq $0
    pushq $0
    movq %rsp, %rbp
    call {start}
    ud2

.section .rodata
    .balign 8
.Lboot_gdt:
    .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff
.Lboot_gdtr:
    .word 23
    .long .Lboot_gdt
    .long 0

.section .bss
    .balign 4096
.Lboot_pml4: .skip 4096
.Lboot_pdpt: .skip 4096
.Lboot_pd:   .skip 16384
.text
"#,
    phys32_entry = const NOTE_PHYS32_ENTRY,
    start = sym super::start::from_assembly,
    options(att_syntax)
);
