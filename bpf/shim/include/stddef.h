/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* stddef.h - the two names that our programs and the UAPI headers take from the C library. */
#pragma once

typedef __SIZE_TYPE__ size_t;
#define offsetof __builtin_offsetof
