/*
 * A guest of 4 KiB that shows from outside whether it went on or began anew.
 *
 * Boots from the first sectors of a disk with any PC firmware.  It reads a seed from fw_cfg, once,
 * fills 4 MiB of RAM with a pattern made from it, and then counts, checks the pattern word by word,
 * takes timer interrupts, and prints a line on COM1 every 64 of them.  All of it is seen in a page
 * of RAM at STATUS (see patchgen/live/observer.py, which has the same layout).
 *
 * A guest that goes on keeps its seed, its number of starts, and a counter that never goes back; one
 * that is started anew reads another seed.  The counter's step is kept in an MMX register, so that
 * it stops when the state of the FPU is lost.
 *
 * Commands are written to COMMAND from outside: 1 suspends to RAM by ACPI (the waking vector is
 * set, so that it counts on when it is woken), 2 resets the machine, 3 powers it off.
 */

        .set    STATUS,   0x100000
        .set    MAGIC,    STATUS + 0x00         # 8 bytes, "PGGUEST1"
        .set    STARTS,   STATUS + 0x08         # boots of this RAM
        .set    SEED,     STATUS + 0x0c
        .set    COUNTER,  STATUS + 0x10         # 64 bits, stored at once
        .set    TICKS,    STATUS + 0x18         # timer interrupts
        .set    PASSES,   STATUS + 0x1c         # checks of the whole pattern
        .set    ERRORS,   STATUS + 0x20         # words that were wrong, and exceptions
        .set    WAKES,    STATUS + 0x24         # returns from suspend
        .set    COMMAND,  STATUS + 0x28
        .set    LINES,    STATUS + 0x2c         # printed on COM1
        .set    VECTOR,   STATUS + 0x30         # address of the ACPI waking vector, 0: none

        .set    PATTERN,  0x200000
        .set    WORDS,    0x100000
        .set    FACTOR,   0x9e3779b1
        .set    IDT,      0x9000
        .set    STACK,    0x7000

        .set    COM1,     0x3f8
        .set    PM1_CNT,  0x604                 # where SeaBIOS puts it on pc and q35
        .set    HZ100,    11932                 # of the PIT's 1193182 Hz

        .code16
        .globl  start
start:
        cli
        cld
        xorw    %ax, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movw    $STACK, %sp
        movw    $packet, %si
        movb    $0x42, %ah                      # DL is the drive, as the firmware left it
        int     $0x13
        jc      dead
        cli
        jmp     rest
dead:
        hlt
        jmp     dead

        .balign 4
packet:                                         # read 7 sectors behind the first one
        .byte   16, 0
        .word   7, 0x7e00, 0
        .quad   1

        .org    510
        .word   0xaa55

rest:
        call    protect
        .code32
        movl    $STACK, %esp
        cmpl    $0x55474750, MAGIC              # "PGGU"
        je      1f
        movl    $0x55474750, MAGIC
        movl    $0x31545345, MAGIC + 4          # "EST1"
        movl    $0, STARTS
1:
        incl    STARTS
        xorl    %eax, %eax
        movl    $COUNTER, %edi
        movl    $((VECTOR + 4 - COUNTER) / 4), %ecx
        rep stosl
        call    read_seed
        movl    %eax, SEED
        call    fill
        call    find_vector
        call    devices
        movl    $1, %eax
        movd    %eax, %mm1
go_on:
        sti
        xorl    %esi, %esi
next_word:
        movq    COUNTER, %mm0
        paddq   %mm1, %mm0
        movq    %mm0, COUNTER
        call    word
        cmpl    %eax, PATTERN(,%esi,4)
        je      1f
        incl    ERRORS
1:
        cmpl    $0, COMMAND
        jne     command
        movl    TICKS, %eax
        shrl    $6, %eax
        cmpl    LINES, %eax
        je      1f
        movl    %eax, LINES
        call    report
1:
        incl    %esi
        cmpl    $WORDS, %esi
        jne     next_word
        incl    PASSES
        jmp     go_on

command:
        movl    COMMAND, %ebx
        movl    $0, COMMAND
        cmpl    $1, %ebx
        je      suspend
        cmpl    $2, %ebx
        je      reset
        cmpl    $3, %ebx
        jne     next_word
        movw    $PM1_CNT, %dx
        movw    $0x2000, %ax                    # SLP_EN, type of S5
        outw    %ax, %dx
        jmp     next_word
reset:
        movb    $6, %al
        movw    $0xcf9, %dx
        outb    %al, %dx
        movb    $0xfe, %al                      # machines without 0xcf9
        outb    %al, $0x64
        jmp     next_word
suspend:
        movl    VECTOR, %edi
        testl   %edi, %edi
        jz      1f
        movl    $wake, (%edi)
1:
        movw    $PM1_CNT, %dx
        movw    $0x2400, %ax                    # SLP_EN, type of S3
        outw    %ax, %dx
        jmp     next_word

/* eax = word number esi of the pattern */
word:
        movl    %esi, %eax
        addl    SEED, %eax
        imull   $FACTOR, %eax, %eax
        movl    %eax, %edx
        shrl    $15, %edx
        xorl    %edx, %eax
        ret

fill:
        xorl    %esi, %esi
1:
        call    word
        movl    %eax, PATTERN(,%esi,4)
        incl    %esi
        cmpl    $WORDS, %esi
        jne     1b
        ret

/* eax = the seed, 0 if there is none */
read_seed:
        movw    $0x510, %dx
        movw    $0x19, %ax                      # the directory of files
        outw    %ax, %dx
        call    read_be32
        movl    %eax, %ecx
next_file:
        jecxz   no_seed
        call    read_be32                       # its size
        call    read_be32                       # its selector and 16 bits of nothing
        shrl    $16, %eax
        movl    %eax, %ebx
        movl    $56, %ebp
        movl    $seed_name, %esi
        xorl    %edi, %edi                      # becomes 1 where the name differs
        movw    $0x511, %dx
1:
        inb     %dx, %al
        cmpl    $seed_name_end, %esi
        je      2f
        cmpb    (%esi), %al
        setne   %ah
        orb     %ah, differs
        incl    %esi
2:
        decl    %ebp
        jnz     1b
        movb    differs, %al
        movb    $0, differs
        testb   %al, %al
        jz      1f
        decl    %ecx
        jmp     next_file
1:
        movw    $0x510, %dx
        movl    %ebx, %eax
        outw    %ax, %dx
        call    read_be32
        bswap   %eax
        ret
no_seed:
        xorl    %eax, %eax
        ret

read_be32:
        movw    $0x511, %dx
        movl    $4, %ebp
1:
        shll    $8, %eax
        inb     %dx, %al
        decl    %ebp
        jnz     1b
        ret

/* VECTOR = address of the waking vector, by way of the firmware's ACPI tables */
find_vector:
        movl    $0xe0000, %esi
1:
        cmpl    $0x20445352, (%esi)             # "RSD PTR "
        jne     2f
        cmpl    $0x20525450, 4(%esi)
        je      3f
2:
        addl    $16, %esi
        cmpl    $0x100000, %esi
        jb      1b
        ret
3:
        movl    16(%esi), %esi                  # RSDT
        movl    4(%esi), %ecx
        subl    $36, %ecx
        shrl    $2, %ecx
        addl    $36, %esi
4:
        jecxz   5f
        lodsl
        decl    %ecx
        cmpl    $0x50434146, (%eax)             # "FACP"
        jne     4b
        movl    36(%eax), %eax                  # FACS
        testl   %eax, %eax
        jz      5f
        addl    $12, %eax
        movl    %eax, VECTOR
5:
        ret

/* interrupts, timer, serial line */
devices:
        movl    $IDT, %edi
        movl    $256, %ecx
        movl    $(0x80000 + exception), %eax    # code segment 8, low half of the address
        movl    $0x8e00, %edx
1:
        movl    %eax, (%edi)
        movl    %edx, 4(%edi)
        addl    $8, %edi
        decl    %ecx
        jnz     1b
        movl    $(0x80000 + timer), IDT + 0x20 * 8
        movl    $(0x80000 + spurious), IDT + 0x27 * 8
        lidt    idtr
        movl    $pic, %esi
        movl    $9, %ecx
        xorl    %edx, %edx
1:
        lodsw                                   # port and value
        movb    %al, %dl
        movb    %ah, %al
        outb    %al, %dx
        decl    %ecx
        jnz     1b
        movb    $0x34, %al
        outb    %al, $0x43
        movb    $(HZ100 & 0xff), %al
        outb    %al, $0x40
        movb    $(HZ100 >> 8), %al
        outb    %al, $0x40
        movl    $uart, %esi
        movl    $6, %ecx
1:
        lodsw
        movzbl  %al, %edx
        addl    $COM1, %edx
        movb    %ah, %al
        outb    %al, %dx
        decl    %ecx
        jnz     1b
        ret

exception:
        incl    ERRORS
1:
        hlt
        jmp     1b
timer:
        pushl   %eax
        incl    TICKS
        movb    $0x20, %al
        outb    %al, $0x20
        popl    %eax
spurious:
        iret

/* "seed=… starts=… count=… ticks=… passes=… errors=…", in hexadecimal */
report:
        pushl   %esi
        movl    $line, %esi
next_field:
        lodsb
        testb   %al, %al
        jz      9f
        cmpb    $1, %al
        je      1f
        call    put
        jmp     next_field
1:
        lodsl
        movl    (%eax), %ebx
        movl    $8, %ecx
2:
        roll    $4, %ebx
        movl    %ebx, %eax
        andl    $15, %eax
        movb    digits(%eax), %al
        call    put
        decl    %ecx
        jnz     2b
        jmp     next_field
9:
        popl    %esi
        ret

/* al to COM1; gives up on a line that takes nothing */
put:
        pushl   %ecx
        movb    %al, %ah
        movl    $100000, %ecx
        movw    $(COM1 + 5), %dx
1:
        inb     %dx, %al
        testb   $0x20, %al
        jnz     2f
        decl    %ecx
        jnz     1b
2:
        movb    %ah, %al
        movw    $COM1, %dx
        outb    %al, %dx
        popl    %ecx
        ret

/* back from S3: the firmware comes here in real mode, at any segment; RAM is as it was */
        .code16
wake:
        cli
        cld
        ljmp    $0, $1f
1:
        xorw    %ax, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movw    $STACK, %sp
        call    protect
        .code32
        movl    $STACK, %esp
        incl    WAKES
        call    devices
        movl    $1, %eax
        movd    %eax, %mm1
        jmp     go_on

/* returns in 32-bit mode, with flat segments and A20 on */
        .code16
protect:
        inb     $0x92, %al
        orb     $2, %al
        andb    $0xfe, %al
        outb    %al, $0x92
        lgdt    gdtr
        movl    %cr0, %eax
        andl    $0xfffffff3, %eax               # no emulated, no switched FPU
        orl     $1, %eax
        movl    %eax, %cr0
        popw    %bx
        ljmpl   $8, $1f
        .code32
1:
        movl    $16, %eax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movzwl  %bx, %ebx
        jmp     *%ebx

        .balign 8
gdt:
        .quad   0, 0x00cf9a000000ffff, 0x00cf92000000ffff
gdtr:
        .word   gdtr - gdt - 1
        .long   gdt
idtr:
        .word   256 * 8 - 1
        .long   IDT
pic:                                            # vectors from 0x20, only the timer
        .byte   0x20, 0x11, 0xa0, 0x11
        .byte   0x21, 0x20, 0xa1, 0x28
        .byte   0x21, 0x04, 0xa1, 0x02
        .byte   0x21, 0x01
        .byte   0xa1, 0x01
        .byte   0x21, 0xfe
uart:                                           # 115200 8N1, no interrupts
        .byte   1, 0x00, 3, 0x80, 0, 1, 1, 0, 3, 3, 4, 3
digits:
        .ascii  "0123456789abcdef"
line:
        .ascii  "seed="
        .byte   1
        .long   SEED
        .ascii  " starts="
        .byte   1
        .long   STARTS
        .ascii  " count="
        .byte   1
        .long   COUNTER + 4
        .byte   1
        .long   COUNTER
        .ascii  " ticks="
        .byte   1
        .long   TICKS
        .ascii  " passes="
        .byte   1
        .long   PASSES
        .ascii  " errors="
        .byte   1
        .long   ERRORS
        .asciz  "\r\n"
differs:
        .byte   0
seed_name:
        .asciz  "opt/org.patchgen/seed"
seed_name_end:

        .org    4096
