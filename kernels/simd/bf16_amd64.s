//go:build amd64 && !noasm

#include "textflag.h"

// What Go's assembler does not know is encoded here, operand by operand;
// TestEncodings has a disassembler read it. T0 to T7 are tiles.

#define T0 0
#define T1 1
#define T2 2
#define T3 3
#define T4 4
#define T5 5
#define T6 6
#define T7 7

// Registers of an address, base and index.
#define rAX 0
#define rCX 1
#define rDX 2
#define rBX 3
#define rSI 6
#define rDI 7

#define LDTILECFG(base) BYTE $0xC4; BYTE $0xE2; BYTE $0x78; BYTE $0x49; BYTE $(base)
#define TILERELEASE() BYTE $0xC4; BYTE $0xE2; BYTE $0x78; BYTE $0x49; BYTE $0xC0
#define TILEZERO(t) BYTE $0xC4; BYTE $0xE2; BYTE $0x7B; BYTE $0x49; BYTE $(0xC0|(t<<3))
#define TILELOADD(t, base, index, disp) BYTE $0xC4; BYTE $0xE2; BYTE $0x7B; BYTE $0x4B; BYTE $(0x84|(t<<3)); BYTE $((index<<3)|base); LONG $(disp)
#define TILESTORED(t, base, index, disp) BYTE $0xC4; BYTE $0xE2; BYTE $0x7A; BYTE $0x4B; BYTE $(0x84|(t<<3)); BYTE $((index<<3)|base); LONG $(disp)
#define PREFETCHW(base, disp) BYTE $0x0F; BYTE $0x0D; BYTE $(0x48|base); BYTE $(disp)
// c += a b
#define TDPBF16PS(c, a, b) BYTE $0xC4; BYTE $0xE2; BYTE $(0x02|((15-b)<<3)); BYTE $0x5C; BYTE $(0xC0|(c<<3)|a)
// d is low rounded, then high; of Z0 to Z7.
#define VCVTNE2PS2BF16(d, high, low) BYTE $0x62; BYTE $0xF2; BYTE $(0x07|((15-high)<<3)); BYTE $0x48; BYTE $0x72; BYTE $(0xC0|(d<<3)|low)

// c += a b, of Z0 to Z31.
#define VDPBF16PS(c, a, b) \
	BYTE $0x62                                                                      \
	BYTE $(0x02|((~c&8)<<4)|((~b&16)<<2)|((~b&8)<<2)|(~c&16))                       \
	BYTE $(0x06|((~a&15)<<3))                                                       \
	BYTE $(0x40|((~a&16)>>1))                                                       \
	BYTE $0x52                                                                      \
	BYTE $(0xC0|((c&7)<<3)|(b&7))

// FETCH asks for eight lines of B, which comes from memory where A has few rows.
#define FETCH(disp) \
	PREFETCHT0 (disp)(DI)     \
	PREFETCHT0 (disp+64)(DI)  \
	PREFETCHT0 (disp+128)(DI) \
	PREFETCHT0 (disp+192)(DI) \
	PREFETCHT0 (disp+256)(DI) \
	PREFETCHT0 (disp+320)(DI) \
	PREFETCHT0 (disp+384)(DI) \
	PREFETCHT0 (disp+448)(DI)

// Each shape of a tile, rows by columns of T0 to T3, has its loop. A is in T4
// and T5, B in T6 and T7. Small terms are added first. While a panel of A is
// multiplied, its share of the panel of B at next is fetched: eight have all.

// func tileAMX(config *byte, shape, k int, a *float32, lda int, b, next, c *float32, ldc, panels int, add bool)
TEXT ·tileAMX(SB), NOSPLIT, $0-81
	MOVQ config+0(FP), AX
	MOVQ shape+8(FP), R9
	MOVQ k+16(FP), R8
	MOVQ a+24(FP), R12
	MOVQ b+40(FP), R13
	MOVQ next+48(FP), R15
	MOVQ c+56(FP), DX
	MOVQ ldc+64(FP), CX
	MOVQ panels+72(FP), R14
	SHLQ $2, CX
	MOVQ $64, BX
	LDTILECFG(rAX)

panel:
	TESTQ $2, R9
	JZ    here
	MOVQ  DX, AX // the tile of C comes while k runs
	MOVQ  $32, R10

line:
	PREFETCHW(rAX, 0)
	PREFETCHW(rAX, 64)
	ADDQ CX, AX
	DECQ R10
	JNZ  line

here:
	MOVQ CX, AX
	SHLQ $4, AX
	ADDQ DX, AX // the second row of tiles
	MOVQ R12, SI
	MOVQ R13, DI
	MOVQ R8, R10
	MOVQ R15, R11
	CMPQ R9, $0
	JEQ  split16x16
	CMPQ R9, $1
	JEQ  split16x32
	CMPQ R9, $2
	JEQ  split32x16
	CMPQ R9, $3
	JEQ  split32x32
	CMPQ R9, $4
	JEQ  bf16_16x16
	CMPQ R9, $5
	JEQ  bf16_16x32
	CMPQ R9, $6
	JEQ  bf16_32x16
	JMP  bf16_32x32

split16x16:
	CMPB add+80(FP), $0
	JEQ  split16x16zero
	TILELOADD(T0, rDX, rCX, 0)
	JMP  split16x16next

split16x16zero:
	TILEZERO(T0)

split16x16next:
	TILELOADD(T4, rSI, rBX, 2048)
	TILELOADD(T6, rDI, rBX, 0)
	TDPBF16PS(T0, T4, T6)
	TILELOADD(T4, rSI, rBX, 0)
	TDPBF16PS(T0, T4, T6)
	TILELOADD(T6, rDI, rBX, 2048)
	TDPBF16PS(T0, T4, T6)
	ADDQ $4096, SI
	ADDQ $4096, DI
	DECQ R10
	JNZ  split16x16next
	TILESTORED(T0, rDX, rCX, 0)
	JMP  stored

split16x32:
	CMPB add+80(FP), $0
	JEQ  split16x32zero
	TILELOADD(T0, rDX, rCX, 0)
	TILELOADD(T1, rDX, rCX, 64)
	JMP  split16x32next

split16x32zero:
	TILEZERO(T0)
	TILEZERO(T1)

split16x32next:
	TILELOADD(T4, rSI, rBX, 2048)
	TILELOADD(T6, rDI, rBX, 0)
	TDPBF16PS(T0, T4, T6)
	FETCH(8192)
	FETCH(8704)
	TILELOADD(T7, rDI, rBX, 1024)
	TDPBF16PS(T1, T4, T7)
	FETCH(9216)
	TILELOADD(T4, rSI, rBX, 0)
	TDPBF16PS(T0, T4, T6)
	FETCH(9728)
	TDPBF16PS(T1, T4, T7)
	FETCH(10240)
	TILELOADD(T6, rDI, rBX, 2048)
	TDPBF16PS(T0, T4, T6)
	FETCH(10752)
	TILELOADD(T7, rDI, rBX, 3072)
	TDPBF16PS(T1, T4, T7)
	FETCH(11264)
	FETCH(11776)
	ADDQ $4096, SI
	ADDQ $4096, DI
	DECQ R10
	JNZ  split16x32next
	TILESTORED(T0, rDX, rCX, 0)
	TILESTORED(T1, rDX, rCX, 64)
	JMP  stored

split32x16:
	CMPB add+80(FP), $0
	JEQ  split32x16zero
	TILELOADD(T0, rDX, rCX, 0)
	TILELOADD(T2, rAX, rCX, 0)
	JMP  split32x16next

split32x16zero:
	TILEZERO(T0)
	TILEZERO(T2)

split32x16next:
	TILELOADD(T4, rSI, rBX, 2048)
	TILELOADD(T6, rDI, rBX, 0)
	TDPBF16PS(T0, T4, T6)
	TILELOADD(T5, rSI, rBX, 3072)
	TDPBF16PS(T2, T5, T6)
	TILELOADD(T4, rSI, rBX, 0)
	TDPBF16PS(T0, T4, T6)
	TILELOADD(T5, rSI, rBX, 1024)
	TDPBF16PS(T2, T5, T6)
	TILELOADD(T6, rDI, rBX, 2048)
	TDPBF16PS(T0, T4, T6)
	TDPBF16PS(T2, T5, T6)
	ADDQ $4096, SI
	ADDQ $4096, DI
	DECQ R10
	JNZ  split32x16next
	TILESTORED(T0, rDX, rCX, 0)
	TILESTORED(T2, rAX, rCX, 0)
	JMP  stored

split32x32:
	CMPB add+80(FP), $0
	JEQ  split32x32zero
	TILELOADD(T0, rDX, rCX, 0)
	TILELOADD(T1, rDX, rCX, 64)
	TILELOADD(T2, rAX, rCX, 0)
	TILELOADD(T3, rAX, rCX, 64)
	JMP  split32x32next

split32x32zero:
	TILEZERO(T0)
	TILEZERO(T1)
	TILEZERO(T2)
	TILEZERO(T3)

split32x32next:
	TILELOADD(T4, rSI, rBX, 2048)
	TILELOADD(T6, rDI, rBX, 0)
	TDPBF16PS(T0, T4, T6)
	PREFETCHT1 0(R11)
	TILELOADD(T5, rSI, rBX, 3072)
	TDPBF16PS(T2, T5, T6)
	PREFETCHT1 64(R11)
	TILELOADD(T7, rDI, rBX, 1024)
	TDPBF16PS(T1, T4, T7)
	PREFETCHT1 128(R11)
	TDPBF16PS(T3, T5, T7)
	PREFETCHT1 192(R11)
	TILELOADD(T4, rSI, rBX, 0)
	TDPBF16PS(T0, T4, T6)
	PREFETCHT1 256(R11)
	TILELOADD(T5, rSI, rBX, 1024)
	TDPBF16PS(T2, T5, T6)
	PREFETCHT1 320(R11)
	TDPBF16PS(T1, T4, T7)
	PREFETCHT1 384(R11)
	TDPBF16PS(T3, T5, T7)
	PREFETCHT1 448(R11)
	TILELOADD(T6, rDI, rBX, 2048)
	TDPBF16PS(T0, T4, T6)
	TDPBF16PS(T2, T5, T6)
	TILELOADD(T7, rDI, rBX, 3072)
	TDPBF16PS(T1, T4, T7)
	TDPBF16PS(T3, T5, T7)
	ADDQ $4096, R11
	ADDQ $4096, SI
	ADDQ $4096, DI
	DECQ R10
	JNZ  split32x32next
	TILESTORED(T0, rDX, rCX, 0)
	TILESTORED(T1, rDX, rCX, 64)
	TILESTORED(T2, rAX, rCX, 0)
	TILESTORED(T3, rAX, rCX, 64)
	JMP  stored

bf16_16x16:
	CMPB add+80(FP), $0
	JEQ  bf16_16x16zero
	TILELOADD(T0, rDX, rCX, 0)
	JMP  bf16_16x16next

bf16_16x16zero:
	TILEZERO(T0)

bf16_16x16next:
	TILELOADD(T4, rSI, rBX, 0)
	TILELOADD(T6, rDI, rBX, 0)
	TDPBF16PS(T0, T4, T6)
	ADDQ $2048, SI
	ADDQ $2048, DI
	DECQ R10
	JNZ  bf16_16x16next
	TILESTORED(T0, rDX, rCX, 0)
	JMP  stored

bf16_16x32:
	CMPB add+80(FP), $0
	JEQ  bf16_16x32zero
	TILELOADD(T0, rDX, rCX, 0)
	TILELOADD(T1, rDX, rCX, 64)
	JMP  bf16_16x32next

bf16_16x32zero:
	TILEZERO(T0)
	TILEZERO(T1)

bf16_16x32next:
	TILELOADD(T4, rSI, rBX, 0)
	TILELOADD(T6, rDI, rBX, 0)
	TDPBF16PS(T0, T4, T6)
	FETCH(8192)
	FETCH(8704)
	TILELOADD(T7, rDI, rBX, 1024)
	TDPBF16PS(T1, T4, T7)
	FETCH(9216)
	FETCH(9728)
	ADDQ $2048, SI
	ADDQ $2048, DI
	DECQ R10
	JNZ  bf16_16x32next
	TILESTORED(T0, rDX, rCX, 0)
	TILESTORED(T1, rDX, rCX, 64)
	JMP  stored

bf16_32x16:
	CMPB add+80(FP), $0
	JEQ  bf16_32x16zero
	TILELOADD(T0, rDX, rCX, 0)
	TILELOADD(T2, rAX, rCX, 0)
	JMP  bf16_32x16next

bf16_32x16zero:
	TILEZERO(T0)
	TILEZERO(T2)

bf16_32x16next:
	TILELOADD(T4, rSI, rBX, 0)
	TILELOADD(T6, rDI, rBX, 0)
	TDPBF16PS(T0, T4, T6)
	TILELOADD(T5, rSI, rBX, 1024)
	TDPBF16PS(T2, T5, T6)
	ADDQ $2048, SI
	ADDQ $2048, DI
	DECQ R10
	JNZ  bf16_32x16next
	TILESTORED(T0, rDX, rCX, 0)
	TILESTORED(T2, rAX, rCX, 0)
	JMP  stored

bf16_32x32:
	CMPB add+80(FP), $0
	JEQ  bf16_32x32zero
	TILELOADD(T0, rDX, rCX, 0)
	TILELOADD(T1, rDX, rCX, 64)
	TILELOADD(T2, rAX, rCX, 0)
	TILELOADD(T3, rAX, rCX, 64)
	JMP  bf16_32x32next

bf16_32x32zero:
	TILEZERO(T0)
	TILEZERO(T1)
	TILEZERO(T2)
	TILEZERO(T3)

bf16_32x32next:
	TILELOADD(T4, rSI, rBX, 0)
	TILELOADD(T6, rDI, rBX, 0)
	TDPBF16PS(T0, T4, T6)
	PREFETCHT1 0(R11)
	TILELOADD(T5, rSI, rBX, 1024)
	TDPBF16PS(T2, T5, T6)
	PREFETCHT1 64(R11)
	TILELOADD(T7, rDI, rBX, 1024)
	TDPBF16PS(T1, T4, T7)
	PREFETCHT1 128(R11)
	TDPBF16PS(T3, T5, T7)
	PREFETCHT1 192(R11)
	ADDQ $2048, R11
	ADDQ $2048, SI
	ADDQ $2048, DI
	DECQ R10
	JNZ  bf16_32x32next
	TILESTORED(T0, rDX, rCX, 0)
	TILESTORED(T1, rDX, rCX, 64)
	TILESTORED(T2, rAX, rCX, 0)
	TILESTORED(T3, rAX, rCX, 64)
	JMP  stored

stored:
	MOVQ lda+32(FP), AX
	SHLQ $2, AX
	ADDQ AX, R12
	ADDQ $512, R15
	CMPQ R9, $4
	JLT  2(PC)
	SUBQ $256, R15
	MOVQ CX, AX
	SHLQ $5, AX
	ADDQ AX, DX
	DECQ R14
	JNZ  panel
	TILERELEASE()
	RET

// words puts word i of both of a vector's halves side by side.
DATA words<>+0(SB)/8, $0x0011000100100000
DATA words<>+8(SB)/8, $0x0013000300120002
DATA words<>+16(SB)/8, $0x0015000500140004
DATA words<>+24(SB)/8, $0x0017000700160006
DATA words<>+32(SB)/8, $0x0019000900180008
DATA words<>+40(SB)/8, $0x001b000b001a000a
DATA words<>+48(SB)/8, $0x001d000d001c000c
DATA words<>+56(SB)/8, $0x001f000f001e000e
GLOBL words<>(SB), RODATA|NOPTR, $64

DATA high<>+0(SB)/4, $0xffff0000
GLOBL high<>(SB), RODATA|NOPTR, $4

// LANES sets K1 and K2 to the first CX lanes of two registers.
#define LANES() \
	MOVQ  $-1, AX    \
	MOVQ  CX, BX     \
	CMPQ  BX, $32    \
	JLE   2(PC)      \
	MOVQ  $32, BX    \
	BZHIQ BX, AX, AX \
	KMOVW AX, K1     \
	SHRQ  $16, AX    \
	KMOVW AX, K2

// SPLIT rounds Z0 and Z1 to Z2, in which their words take turns, and leaves what
// is lost of them in Z0 and Z1. Z5 is in their order, unmixed.
#define SPLIT() \
	VCVTNE2PS2BF16(5, 1, 0) \
	VPERMW Z5, Z6, Z2       \
	VPSLLD $16, Z2, Z3      \
	VPANDD Z2, Z7, Z4       \
	VSUBPS Z3, Z0, Z0       \
	VSUBPS Z4, Z1, Z1

// func rowsBF16x3(dst, src *float32, from *int, rows, k int)
TEXT ·rowsBF16x3(SB), NOSPLIT, $0-40
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ from+16(FP), R8
	MOVQ k+32(FP), CX
	VMOVDQU64    words<>(SB), Z6
	VPBROADCASTD high<>(SB), Z7

block:
	LANES()
	MOVQ rows+24(FP), R10
	MOVQ DI, R9
	MOVQ R8, R11

row:
	MOVQ   (R11), AX
	VPXORD Z0, Z0, Z0
	VPXORD Z1, Z1, Z1
	TESTQ  AX, AX
	JLT    convert
	VMOVUPS.Z (SI)(AX*4), K1, Z0
	VMOVUPS.Z 64(SI)(AX*4), K2, Z1

convert:
	SPLIT()
	VMOVDQU64 Z5, (R9)
	VCVTNE2PS2BF16(5, 1, 0)
	VMOVDQU64 Z5, 2048(R9)
	ADDQ $64, R9
	ADDQ $8, R11
	DECQ R10
	JNZ  row
	ADDQ $128, SI
	ADDQ $4096, DI
	SUBQ $32, CX
	JG   block
	VZEROUPPER
	RET

// func rowsBF16(dst, src *float32, from *int, rows, k int)
TEXT ·rowsBF16(SB), NOSPLIT, $0-40
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ from+16(FP), R8
	MOVQ k+32(FP), CX
	VMOVDQU64    words<>(SB), Z6
	VPBROADCASTD high<>(SB), Z7

block:
	LANES()
	MOVQ rows+24(FP), R10
	MOVQ DI, R9
	MOVQ R8, R11

row:
	MOVQ   (R11), AX
	VPXORD Z0, Z0, Z0
	VPXORD Z1, Z1, Z1
	TESTQ  AX, AX
	JLT    convert
	VMOVUPS.Z (SI)(AX*4), K1, Z0
	VMOVUPS.Z 64(SI)(AX*4), K2, Z1

convert:
	VCVTNE2PS2BF16(5, 1, 0)
	VMOVDQU64 Z5, (R9)
	ADDQ $64, R9
	ADDQ $8, R11
	DECQ R10
	JNZ  row
	ADDQ $128, SI
	ADDQ $2048, DI
	SUBQ $32, CX
	JG   block
	VZEROUPPER
	RET

// func pairsBF16x3(dst, src *float32, ld, blocks, n int)
TEXT ·pairsBF16x3(SB), NOSPLIT, $0-40
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), R8
	MOVQ ld+16(FP), DX
	MOVQ blocks+24(FP), R11
	MOVQ n+32(FP), CX
	SHLQ $2, DX
	VMOVDQU64    words<>(SB), Z6
	VPBROADCASTD high<>(SB), Z7
	LANES()

block:
	MOVQ DI, R9
	MOVQ $16, R10

pair:
	VMOVUPS.Z 0(R8), K1, Z0
	VMOVUPS.Z 0(R8)(DX*1), K1, Z1
	SPLIT()
	VMOVDQU64 Z2, 0(R9)
	VCVTNE2PS2BF16(5, 1, 0)
	VPERMW Z5, Z6, Z2
	VMOVDQU64 Z2, 2048(R9)
	VMOVUPS.Z 64(R8), K2, Z0
	VMOVUPS.Z 64(R8)(DX*1), K2, Z1
	SPLIT()
	VMOVDQU64 Z2, 1024(R9)
	VCVTNE2PS2BF16(5, 1, 0)
	VPERMW Z5, Z6, Z2
	VMOVDQU64 Z2, 3072(R9)
	LEAQ (R8)(DX*2), R8
	ADDQ $64, R9
	DECQ R10
	JNZ  pair
	ADDQ $4096, DI
	DECQ R11
	JNZ  block
	VZEROUPPER
	RET

// func pairsBF16(dst, src *float32, ld, blocks, n int)
TEXT ·pairsBF16(SB), NOSPLIT, $0-40
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), R8
	MOVQ ld+16(FP), DX
	MOVQ blocks+24(FP), R11
	MOVQ n+32(FP), CX
	SHLQ $2, DX
	VMOVDQU64    words<>(SB), Z6
	VPBROADCASTD high<>(SB), Z7
	LANES()

block:
	MOVQ DI, R9
	MOVQ $16, R10

pair:
	VMOVUPS.Z 0(R8), K1, Z0
	VMOVUPS.Z 0(R8)(DX*1), K1, Z1
	VCVTNE2PS2BF16(5, 1, 0)
	VPERMW Z5, Z6, Z2
	VMOVDQU64 Z2, 0(R9)
	VMOVUPS.Z 64(R8), K2, Z0
	VMOVUPS.Z 64(R8)(DX*1), K2, Z1
	VCVTNE2PS2BF16(5, 1, 0)
	VPERMW Z5, Z6, Z2
	VMOVDQU64 Z2, 1024(R9)
	LEAQ (R8)(DX*2), R8
	ADDQ $64, R9
	DECQ R10
	JNZ  pair
	ADDQ $2048, DI
	DECQ R11
	JNZ  block
	VZEROUPPER
	RET

// Row i of A against a pair of k of both halves of B in Z28 and Z29.
#define DP(i, low, high) \
	VPBROADCASTD (64*i)(SI), Z30 \
	VDPBF16PS(low, 30, 28)       \
	VDPBF16PS(high, 30, 29)

#define DP1() DP(0, 0, 1)
#define DP2() DP1() ; DP(1, 2, 3)
#define DP3() DP2() ; DP(2, 4, 5)
#define DP4() DP3() ; DP(3, 6, 7)
#define DP5() DP4() ; DP(4, 8, 9)
#define DP6() DP5() ; DP(5, 10, 11)
#define DP7() DP6() ; DP(6, 12, 13)
#define DP8() DP7() ; DP(7, 14, 15)
#define DP9() DP8() ; DP(8, 16, 17)
#define DP10() DP9() ; DP(9, 18, 19)
#define DP11() DP10() ; DP(10, 20, 21)

// SUM runs a loop over k for some rows, then stores them.
#define SUM(label, rows) \
label: \
	VMOVDQU64  (DI), Z28     \
	VMOVDQU64  1024(DI), Z29 \
	PREFETCHT0 2048(DI)      \
	PREFETCHT0 3072(DI)      \
	rows()                   \
	ADDQ  $4, SI             \
	ADDQ  $64, DI            \
	DECQ  R10                \
	JNZ   label              \
	MOVQ  $16, R10           \
	ADDQ  $(2048-64), SI     \
	ADDQ  $1024, DI          \
	DECQ  R8                 \
	JNZ   label              \
	JMP   sums

// STORE adds what is kept of a row of C, under K3 and K4, and goes on if it was
// not the last.
#define STORE(low, high) \
	VMOVUPS.Z (DX), K3, Z28   \
	VMOVUPS.Z 64(DX), K4, Z29 \
	VADDPS    Z28, low, low   \
	VADDPS    Z29, high, high \
	VMOVUPS   low, K1, (DX)   \
	VMOVUPS   high, K2, 64(DX) \
	ADDQ      CX, DX          \
	DECQ      R9              \
	JZ        stored

// func tileDP(k int, a, b, c *float32, ldc, m, n int, add bool)
TEXT ·tileDP(SB), NOSPLIT, $0-57
	MOVQ k+0(FP), R8
	MOVQ a+8(FP), SI
	MOVQ b+16(FP), DI
	MOVQ m+40(FP), R9
	MOVQ n+48(FP), CX
	LANES()
	KXORW K3, K3, K3
	KXORW K4, K4, K4
	CMPB  add+56(FP), $0
	JEQ   3(PC)
	KMOVW K1, K3
	KMOVW K2, K4
	MOVQ  c+24(FP), DX
	MOVQ  ldc+32(FP), CX
	SHLQ  $2, CX
	MOVQ  $16, R10
	VPXORD Z0, Z0, Z0
	VPXORD Z1, Z1, Z1
	VPXORD Z2, Z2, Z2
	VPXORD Z3, Z3, Z3
	VPXORD Z4, Z4, Z4
	VPXORD Z5, Z5, Z5
	VPXORD Z6, Z6, Z6
	VPXORD Z7, Z7, Z7
	VPXORD Z8, Z8, Z8
	VPXORD Z9, Z9, Z9
	VPXORD Z10, Z10, Z10
	VPXORD Z11, Z11, Z11
	VPXORD Z12, Z12, Z12
	VPXORD Z13, Z13, Z13
	VPXORD Z14, Z14, Z14
	VPXORD Z15, Z15, Z15
	VPXORD Z16, Z16, Z16
	VPXORD Z17, Z17, Z17
	VPXORD Z18, Z18, Z18
	VPXORD Z19, Z19, Z19
	VPXORD Z20, Z20, Z20
	VPXORD Z21, Z21, Z21
	CMPQ R9, $1
	JEQ  rows1
	CMPQ R9, $2
	JEQ  rows2
	CMPQ R9, $3
	JEQ  rows3
	CMPQ R9, $4
	JEQ  rows4
	CMPQ R9, $5
	JEQ  rows5
	CMPQ R9, $6
	JEQ  rows6
	CMPQ R9, $7
	JEQ  rows7
	CMPQ R9, $8
	JEQ  rows8
	CMPQ R9, $9
	JEQ  rows9
	CMPQ R9, $10
	JEQ  rows10

	SUM(rows11, DP11)
	SUM(rows10, DP10)
	SUM(rows9, DP9)
	SUM(rows8, DP8)
	SUM(rows7, DP7)
	SUM(rows6, DP6)
	SUM(rows5, DP5)
	SUM(rows4, DP4)
	SUM(rows3, DP3)
	SUM(rows2, DP2)
	SUM(rows1, DP1)

sums:
	STORE(Z0, Z1)
	STORE(Z2, Z3)
	STORE(Z4, Z5)
	STORE(Z6, Z7)
	STORE(Z8, Z9)
	STORE(Z10, Z11)
	STORE(Z12, Z13)
	STORE(Z14, Z15)
	STORE(Z16, Z17)
	STORE(Z18, Z19)
	STORE(Z20, Z21)

stored:
	VZEROUPPER
	RET
