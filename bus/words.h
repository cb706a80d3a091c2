/* SPDX-License-Identifier: MIT */
/* What is said to people for the names that go over the bus. */
#pragma once

/* "writing" for the job "commit", and so on; the job itself where there is no other word. */
const char *bus_job_verb(const char *job);
