//! The first instructions: 32-bit protected mode without paging to 64-bit mode.
//!
//! Xen starts the vCPU with flat segments, interrupts off, and the address of the start info in
//! `ebx`. The first 4 GiB are mapped to themselves here with everything allowed; `paging` replaces
//! that before the domain runs. Source: Xen `docs/misc/pvh.pandoc`.
//!
//! dom0 is where Xen has put it: at the address that it is linked to, or, where the firmware keeps that memory, at
//! another one below 4 GiB, for the note PHYS32_RELOC allows that. So everything here is addressed from where `call`
//! says that it runs, with a word of the start info for a stack, and the image's relocations are applied before any Rust
//! runs, as on aarch64: physical and virtual addresses are equal wherever it is. Every other domain is linked to a
//! fixed address, where dom0 puts it; it has no relocations, and its note names no other place.
//! Source: Xen `public/elfnote.h`, `arch/x86/hvm/dom0_build.c`.

use core::arch::global_asm;

use proto_xen::start_info::{NOTE_PHYS32_ENTRY, NOTE_PHYS32_RELOC};

global_asm!(
    r#"
.section .note.Xen, "a", @note
    .balign 4
    .long 4, 8, {phys32_entry}
    .asciz "Xen"
    .balign 4
    .quad __start32
    .long 4, 12, {phys32_reloc}
    .asciz "Xen"
    .balign 4
    .long 4096, LOAD_LOWEST, LOAD_HIGHEST   /* alignment, where its bytes may be */
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
    movl %ebx, %ebp
    movl %eax, %esi
    movl %edx, %ebx

    /* Where this runs, in edx. The start info's version is put back. */
    movl 4(%ebp), %eax
    leal 8(%ebp), %esp
    call .Lhere
.Lhere:
    popl %edx
    movl %eax, 4(%ebp)
    leal (__stack_top - .Lhere)(%edx), %esp

    /* 2048 pages of 2 MiB: present, writable, large. */
    leal (.Lboot_pd - .Lhere)(%edx), %edi
    movl $0x83, %eax
    movl $2048, %ecx
1:  movl %eax, (%edi)
    movl $0, 4(%edi)
    addl $8, %edi
    addl $0x200000, %eax
    decl %ecx
    jnz 1b
    /* The four tables that hold them. */
    leal (.Lboot_pdpt - .Lhere)(%edx), %edi
    leal (.Lboot_pd + 3 - .Lhere)(%edx), %eax
    movl $4, %ecx
2:  movl %eax, (%edi)
    movl $0, 4(%edi)
    addl $8, %edi
    addl $4096, %eax
    decl %ecx
    jnz 2b
    leal (.Lboot_pml4 - .Lhere)(%edx), %edi
    leal (.Lboot_pdpt + 3 - .Lhere)(%edx), %eax
    movl %eax, (%edi)
    movl $0, 4(%edi)

    /* The segments, and where to go with them. */
    leal (.Lboot_gdt - .Lhere)(%edx), %eax
    pushl %eax
    pushw $23
    lgdt (%esp)
    addl $6, %esp
    leal (.Llong - .Lhere)(%edx), %eax
    pushl $8
    pushl %eax

    movl %cr4, %eax
    orl $0x20, %eax         /* PAE */
    movl %eax, %cr4
    movl %edi, %cr3
    movl $0xc0000080, %ecx  /* EFER: LME, NXE */
    rdmsr
    orl $0x900, %eax
    wrmsr
    movl %cr0, %eax
    orl $0x80010001, %eax   /* PG, WP, PE */
    movl %eax, %cr0
    lretl

.code64
.Llong:
    movl $16, %eax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    xorl %eax, %eax
    movw %ax, %fs
    movw %ax, %gs

    /* Relocations: offset, type, addend. Only R_X86_64_RELATIVE (8) is there. */
    leaq __image_start(%rip), %rdx
    subq $LOAD_BASE, %rdx
    leaq __rela_start(%rip), %rdi
    leaq __rela_end(%rip), %rcx
3:  cmpq %rcx, %rdi
    jae 4f
    movq (%rdi), %rax
    movq 16(%rdi), %r8
    cmpl $8, 8(%rdi)
    jne 5f
    addq %rdx, %r8
    movq %r8, (%rax,%rdx)
    addq $24, %rdi
    jmp 3b

4:  movl %ebp, %edi
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
5:  ud2

.section .rodata
    .balign 8
.Lboot_gdt:
    .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff

.section .bss
    .balign 4096
.Lboot_pml4: .skip 4096
.Lboot_pdpt: .skip 4096
.Lboot_pd:   .skip 16384
.text
"#,
    phys32_entry = const NOTE_PHYS32_ENTRY,
    phys32_reloc = const NOTE_PHYS32_RELOC,
    start = sym super::start::from_assembly,
    options(att_syntax)
);
