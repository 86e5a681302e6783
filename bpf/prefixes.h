#pragma once
#include "packet.h"
#define PREFIX_NONE 0
#define PREFIX_BLOCKED 1
#define PREFIX_ALLOWED 2
static __always_inline __u64 prefix_verdict(const struct address *source) { return 0; }
