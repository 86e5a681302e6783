/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Named by BCC, needed by none of our programs. */
