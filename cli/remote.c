/* SPDX-License-Identifier: MIT */
#include "cli/remote.h"

#include <errno.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>

/* For the shell at the other end: in quotes, where a quote is left and entered again. */
static char *quote(const char *word)
{
	char *out = malloc(strlen(word) * 4 + 3), *at = out;

	if (!out)
		return NULL;
	*at++ = '\'';
	for (; *word; word++) {
		if (*word == '\'') {
			memcpy(at, "'\\''", 4);
			at += 4;
		} else {
			*at++ = *word;
		}
	}
	*at++ = '\'';
	*at = '\0';
	return out;
}

static int spawn_ssh(char *const *argv, int in, int out, pid_t *pid)
{
	posix_spawn_file_actions_t actions;
	int r = posix_spawn_file_actions_init(&actions);

	if (r)
		return -r;
	if (in >= 0)
		r = posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
	if (r == 0 && out >= 0)
		r = posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
	if (r == 0)
		r = posix_spawnp(pid, "ssh", &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	return -r;
}

static int wait_for(pid_t pid, const char *host, struct error *err)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return error_set(err, -errno, "ssh %s: %s", host, strerror(errno));
	if (!WIFEXITED(status) || WEXITSTATUS(status) == 255)
		return error_set(err, -EIO, "ssh %s has failed", host);
	if (WEXITSTATUS(status) == 127)
		return error_set(err, -ENOENT, "romount is not installed on %s", host);
	return WEXITSTATUS(status);
}

int remote_run(const char *host, const char *const *words, int in, int out, struct error *err)
{
	char *argv[REMOTE_WORDS_MAX + 6] = {
		(char[]){"ssh"}, (char[]){"-xT"}, (char[]){"--"}, NULL, (char[]){"romount"}};
	size_t n = 5, quoted = n;
	pid_t pid;
	int r = 0;

	argv[3] = strdup(host);
	while (words[n - 5] && n < ARRAY_SIZE(argv) - 1 && (argv[n] = quote(words[n - 5])))
		n++;
	if (!argv[3] || words[n - 5])
		r = error_set(err, -ENOMEM, "out of memory");
	if (r == 0 && (r = spawn_ssh(argv, in, out, &pid)) < 0)
		error_set(err, r, "cannot run ssh: %s", strerror(-r));
	if (r == 0)
		r = wait_for(pid, host, err);
	free(argv[3]);
	while (n-- > quoted)
		free(argv[n]);
	return r;
}
