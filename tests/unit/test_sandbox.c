/* SPDX-License-Identifier: MIT */
/* What a process in the sandbox can do, and what it cannot: each in a child of its own. */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <pthread.h>
#include <pty.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>

#include <cmocka.h>

#include "fuse/sandbox.h"

#if defined(__SANITIZE_ADDRESS__)
#define WITH_SANITIZER 1
#else
#define WITH_SANITIZER 0
#endif

/* The function's result (0 to 120), or minus the signal that ended it. */
static int in_sandbox(int (*function)(void))
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		struct error err = {0};

		if (sandbox_enter(&err) < 0) {
			fprintf(stderr, "%s\n", err.text);
			_exit(121);
		}
		_exit(function());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static int failure(long r)
{
	return r < 0 ? errno : 0;
}

/* --- what ends it --- */

static int open_internet_socket(void)
{
	return failure(socket(AF_INET, SOCK_STREAM, 0));
}

static int open_unix_socket(void)
{
	return failure(socket(AF_UNIX, SOCK_DGRAM, 0));
}

static int run_program(void)
{
	char *const argv[] = {(char[]){"true"}, NULL};

	return failure(execv("/bin/true", argv));
}

static int trace_parent(void)
{
	return failure(ptrace(PTRACE_ATTACH, getppid(), NULL, NULL));
}

static int read_parent(void)
{
	return failure(syscall(SYS_process_vm_readv, getppid(), NULL, 0, NULL, 0, 0));
}

static int mount_something(void)
{
	return failure(mount("none", "/tmp", "tmpfs", 0, NULL));
}

static int become_another(void)
{
	return failure(syscall(SYS_setuid, 0));
}

static int leave_namespaces(void)
{
	return failure(unshare(CLONE_NEWUSER));
}

static int load_program_into_kernel(void)
{
	return failure(syscall(SYS_bpf, 0, NULL, 0));
}

static void test_deadly(void **state)
{
	static int (*const deeds[])(void) = {
		open_internet_socket, open_unix_socket, run_program, read_parent,
		mount_something, become_another, leave_namespaces, load_program_into_kernel,
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(deeds); i++) {
		print_message("deed %zu\n", i);
		assert_int_equal(in_sandbox(deeds[i]), -SIGSYS);
	}
	if (!WITH_SANITIZER)
		assert_int_equal(in_sandbox(trace_parent), -SIGSYS);
}

/* --- what fails --- */

static int start_process(void)
{
	return failure(syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL));
}

static int make_memory_executable(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? 100 : failure(mprotect(p, 4096, PROT_READ | PROT_EXEC));
}

static int map_executable(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? errno : 0;
}

static int signal_another(void)
{
	return failure(syscall(SYS_kill, getppid(), 0));
}

static int lift_limit(void)
{
	const struct rlimit l = {RLIM_INFINITY, RLIM_INFINITY};

	return failure(setrlimit(RLIMIT_CORE, &l));
}

static int take_too_much_memory(void)
{
	void *p = mmap(NULL, SANDBOX_MEMORY, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? errno : 0;
}

static void test_refused(void **state)
{
	(void)state;
	/* A sanitizer needs most of this itself. */
	if (WITH_SANITIZER)
		skip();
	assert_int_equal(in_sandbox(start_process), EPERM);
	assert_int_equal(in_sandbox(make_memory_executable), EPERM);
	assert_int_equal(in_sandbox(map_executable), EPERM);
	assert_int_equal(in_sandbox(signal_another), EPERM);
	assert_int_equal(in_sandbox(lift_limit), EPERM);
	assert_int_equal(in_sandbox(take_too_much_memory), ENOMEM);
}

/* The pty is made before: that takes more than a board's process may do. */
static int slave_fd;

static int push_into_slave(void)
{
	return failure(ioctl(slave_fd, TIOCSTI, "x"));
}

static int set_up_slave(void)
{
	struct termios tio;

	if (tcgetattr(slave_fd, &tio) < 0)
		return errno;
	cfmakeraw(&tio);
	return tcsetattr(slave_fd, TCSANOW, &tio) < 0 || tcflush(slave_fd, TCIFLUSH) < 0
		       ? errno
		       : 0;
}

static void test_tty(void **state)
{
	int master;

	(void)state;
	assert_int_equal(openpty(&master, &slave_fd, NULL, NULL, NULL), 0);
	assert_int_equal(in_sandbox(set_up_slave), 0);
	assert_int_equal(in_sandbox(push_into_slave), EPERM);
	close(master);
	close(slave_fd);
}

/* --- what it is --- */

static int has_capabilities(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct have[_LINUX_CAPABILITY_U32S_3] = {{0}};

	if (syscall(SYS_capget, &header, have) < 0)
		return errno;
	return (have[0].effective | have[0].permitted | have[0].inheritable | have[1].effective |
		       have[1].permitted | have[1].inheritable) != 0;
}

static int shows_status(void)
{
	char text[4096];
	int fd = open("/proc/self/status", O_RDONLY);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (n < 0)
		return errno;
	text[n] = '\0';
	if (!strstr(text, "\nNoNewPrivs:\t1\n"))
		return 101;
	if (!strstr(text, "\nSeccomp:\t2\n"))
		return 102;
	if (!strstr(text, "\nCapEff:\t0000000000000000\n") ||
		!strstr(text, "\nCapPrm:\t0000000000000000\n"))
		return 103;
	return 0;
}

static void test_process(void **state)
{
	(void)state;
	assert_int_equal(in_sandbox(shows_status), 0);
	/* Nobody needs to look at capabilities any more. */
	assert_int_equal(in_sandbox(has_capabilities), EPERM);
}

/* --- what it needs --- */

static void *write_one(void *data)
{
	*(int *)data = 1;
	return NULL;
}

static int start_thread(void)
{
	pthread_t thread;
	int done = 0, r = pthread_create(&thread, NULL, write_one, &done);

	if (r == 0)
		r = pthread_join(thread, NULL);
	return r ? r : !done;
}

static int write_file(void)
{
	int dir = open("/tmp", O_RDONLY | O_DIRECTORY);
	int fd = openat(dir, ".", O_TMPFILE | O_RDWR, 0600);

	return fd < 0 || write(fd, "x", 1) != 1 || fdatasync(fd) < 0 ? errno : 0;
}

static void test_allowed(void **state)
{
	(void)state;
	assert_int_equal(in_sandbox(start_thread), 0);
	assert_int_equal(in_sandbox(write_file), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_deadly),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_tty),
		cmocka_unit_test(test_process),
		cmocka_unit_test(test_allowed),
	};

	return cmocka_run_group_tests_name("sandbox", tests, NULL, NULL);
}
