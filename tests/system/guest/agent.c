/* SPDX-License-Identifier: MIT */
/* Runs commands in a guest for a test on the host.
 *
 *   agent PORT      PORT is a virtio port, which the host holds open
 *
 * A request is a line "SECONDS COMMAND-BYTES INPUT-BYTES", then that many bytes of each; the
 * answer is a line "STATUS OUTPUT-BYTES COMPLAINT-BYTES", then these. STATUS is the exit code,
 * 128 + N for signal N, or 300 when the time was up. One request at a time; several ports have
 * an agent each. A command has a session of its own; what it leaves in the background stays. */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TIME_IS_UP = 300, LINE = 80 };
#define MOST_BYTES ((size_t)256 << 20)

/* A port whose other side is closed reads as ended; the host opens it before the guest runs. */
static void read_exactly(int port, void *to, size_t size)
{
	char *at = to;

	while (size) {
		ssize_t n = read(port, at, size);

		if (n < 0 && errno != EINTR && errno != EAGAIN)
			err(1, "read");
		if (n == 0)
			errx(1, "the host has closed the port");
		if (n > 0) {
			at += n;
			size -= (size_t)n;
		}
	}
}

static void write_all(int fd, const char *from, size_t size)
{
	while (size) {
		ssize_t n = write(fd, from, size);

		if (n < 0 && errno != EINTR)
			err(1, "write");
		if (n > 0) {
			from += n;
			size -= (size_t)n;
		}
	}
}

static void read_line(int port, char line[LINE])
{
	size_t n = 0;

	do {
		if (n == LINE - 1)
			errx(1, "no request: %.*s", (int)n, line);
		read_exactly(port, &line[n], 1);
	} while (line[n++] != '\n');
	line[n] = '\0';
}

static int nameless_file(void)
{
	int fd = memfd_create("agent", MFD_CLOEXEC);

	if (fd < 0)
		err(1, "memfd_create");
	return fd;
}

static pid_t start(const char *command, int input, int output, int complaints)
{
	pid_t pid = fork();

	if (pid < 0)
		err(1, "fork");
	if (pid)
		return pid;
	if (setsid() < 0 || dup2(input, 0) < 0 || dup2(output, 1) < 0 || dup2(complaints, 2) < 0)
		_exit(126);
	execl("/bin/sh", "sh", "-c", command, NULL);
	_exit(127);
}

static int wait_for(pid_t pid, int seconds)
{
	struct pollfd p = { .fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN };
	bool late;
	int status;

	if (p.fd < 0)
		err(1, "pidfd_open");
	late = poll(&p, 1, seconds * 1000) == 0;
	close(p.fd);
	if (late)
		kill(-pid, SIGKILL);
	if (waitpid(pid, &status, 0) != pid)
		err(1, "waitpid");
	if (late)
		return TIME_IS_UP;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static size_t length(int fd)
{
	struct stat st;

	if (fstat(fd, &st))
		err(1, "fstat");
	return (size_t)st.st_size;
}

/* What is in the background may go on writing: never more than was announced. */
static void send_file(int port, int fd, size_t size)
{
	char *bytes;

	if (!size)
		return;
	bytes = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	if (bytes == MAP_FAILED)
		err(1, "mmap");
	write_all(port, bytes, size);
	munmap(bytes, size);
}

static void serve(int port)
{
	char line[LINE], *command, *input;
	size_t command_size, input_size, sizes[2];
	int seconds, status, in, out, complaints;

	read_line(port, line);
	if (sscanf(line, "%d %zu %zu", &seconds, &command_size, &input_size) != 3 ||
		command_size > MOST_BYTES || input_size > MOST_BYTES)
		errx(1, "no request: %s", line);
	command = calloc(1, command_size + 1);
	input = malloc(input_size + 1);
	if (!command || !input)
		err(1, "malloc");
	read_exactly(port, command, command_size);
	read_exactly(port, input, input_size);
	in = nameless_file();
	out = nameless_file();
	complaints = nameless_file();
	write_all(in, input, input_size);
	if (lseek(in, 0, SEEK_SET))
		err(1, "lseek");
	status = wait_for(start(command, in, out, complaints), seconds);
	sizes[0] = length(out);
	sizes[1] = length(complaints);
	snprintf(line, LINE, "%d %zu %zu\n", status, sizes[0], sizes[1]);
	write_all(port, line, strlen(line));
	send_file(port, out, sizes[0]);
	send_file(port, complaints, sizes[1]);
	close(in);
	close(out);
	close(complaints);
	free(command);
	free(input);
}

int main(int argc, char **argv)
{
	int port;

	if (argc != 2)
		errx(2, "usage: agent PORT");
	port = open(argv[1], O_RDWR | O_CLOEXEC);
	if (port < 0)
		err(1, "%s", argv[1]);
	for (;;)
		serve(port);
}
