/* SPDX-License-Identifier: MIT */
/* The API on the system's bus, or the user's. A bus that is not there is waited for, one that
 * goes away, too; nothing else depends on it. */
#pragma once

#include "util/error.h"

struct api;
struct api_bus;

must_check int api_bus_new(struct api *a, struct api_bus **out, struct error *err);
void api_bus_free(struct api_bus *b);
