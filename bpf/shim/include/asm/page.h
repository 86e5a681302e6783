/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Wanted by a helper of BCC that our programs do not call. */
#define PAGE_SIZE 4096
