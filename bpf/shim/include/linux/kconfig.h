/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* kconfig.h - stands in for a kernel source tree: BCC includes this file first, and then needs no more.
 *
 * BCC looks for headers in $BCC_KERNEL_SOURCE, which points here. Its own bpf.h and helpers.h come next;
 * they want the kernel's short type names, size_t and PAGE_SIZE. The other files of this folder are there
 * only because BCC names them.
 */
#pragma once

#define CONFIG_BPF_SYSCALL 1

#include <linux/types.h>
#include <stddef.h>

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s8 s8;
typedef __s16 s16;
typedef __s32 s32;
typedef __s64 s64;
typedef _Bool bool;
typedef unsigned long uintptr_t;

enum { false, true };
