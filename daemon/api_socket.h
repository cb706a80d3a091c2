/* SPDX-License-Identifier: MIT */
/* The private socket: the API for whoever is on this machine, without a bus. Each client is a
 * connection of its own; the kernel tells whose.
 *
 * A client can cost little: so many connections for each user, small messages (intake.h), and
 * nothing is read from one that does not fetch its answers. */
#pragma once

#include "util/error.h"

struct api;
struct api_socket;

must_check int api_socket_new(struct api *a, struct api_socket **out, struct error *err);
void api_socket_free(struct api_socket *s);
