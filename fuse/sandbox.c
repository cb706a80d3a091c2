/* SPDX-License-Identifier: MIT */
#include "fuse/sandbox.h"

#include <asm/termbits.h> /* termios2, which termios.h has not */
#include <errno.h>
#include <linux/capability.h>
#include <sched.h>
#include <seccomp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>

#if defined(__SANITIZE_ADDRESS__)
#define WITH_SANITIZER 1
#else
#define WITH_SANITIZER 0
#endif

/* --- system calls ------------------------------------------------------------------------- */

/* By name, since not every architecture has all of them. */
static const char *const allowed[] = {
	/* descriptors */
	"read", "write", "readv", "writev", "pread64", "pwrite64", "preadv", "pwritev", "lseek",
	"close", "fcntl", "fcntl64", "dup", "flock", "poll", "ppoll", "epoll_create1",
	"epoll_ctl", "epoll_wait", "epoll_pwait", "epoll_pwait2", "eventfd2", "timerfd_create",
	"timerfd_settime", "timerfd_gettime", "signalfd4",
	/* the sockets that it was given */
	"sendmsg", "recvmsg", "sendto", "recvfrom", "getsockopt", "setsockopt", "getsockname",
	"getpeername", "shutdown",
	/* files */
	"openat", "fstat", "fstat64", "newfstatat", "fstatat64", "statx", "fstatfs", "ftruncate",
	"ftruncate64", "fallocate", "fsync", "fdatasync", "fchdir", "mkdir", "mkdirat",
	"unlinkat", "renameat", "renameat2", "linkat", "faccessat", "faccessat2", "readlinkat",
	"getdents64", "fchmod", "utimensat", "umask", "getcwd", "copy_file_range",
	/* memory */
	"munmap", "mremap", "madvise", "brk",
	/* threads */
	"futex", "set_robust_list", "rseq", "gettid", "sched_yield", "sched_getaffinity",
	"exit", "exit_group",
	/* signals */
	"rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigpending", "restart_syscall",
	"sigaltstack",
	/* who and when */
	"getpid", "getppid", "getuid", "geteuid", "getgid", "getegid", "getresuid", "getresgid",
	"uname", "sysinfo", "clock_gettime", "clock_getres", "clock_nanosleep", "gettimeofday",
	"time", "nanosleep", "getrandom", "getrusage",
#if WITH_SANITIZER
	"prctl", "readlink", "stat", "open", "mmap", "mprotect", "prlimit64", "getrlimit",
	"kill", "tgkill", "tkill", "clone", "wait4", "pipe", "pipe2", "dup2", "arch_prctl",
	"ptrace", "getdents", "lstat",
#endif
};

static const char *const deadly[] = {
	"execve", "execveat", "fork", "vfork", "process_vm_readv", "process_vm_writev",
	"pidfd_getfd", "kcmp", "mount", "umount2", "move_mount", "open_tree", "fsopen",
	"fsmount", "pivot_root",
	"chroot", "unshare", "setns", "socket", "socketpair", "connect", "bind", "listen",
	"accept", "accept4", "setuid", "setgid", "setresuid", "setresgid", "setreuid",
	"setregid", "setgroups", "capset", "init_module", "finit_module", "delete_module",
	"kexec_load", "bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "keyctl",
	"add_key", "request_key", "open_by_handle_at", "mknodat", "reboot", "swapon", "sethostname",
#if !WITH_SANITIZER
	"ptrace", /* what looks for leaks traces its parent */
#endif
};

static const unsigned long ioctls[] = {
	TCGETS, TCSETS, TCSETSW, TCSETSF, TCFLSH, TCSBRK, TIOCEXCL, TIOCNXCL, TIOCGEXCL, TIOCMGET,
	TIOCMSET, TIOCMBIS, TIOCMBIC, TIOCOUTQ, TIOCINQ, FIONBIO,
#ifdef TCGETS2
	TCGETS2, TCSETS2, TCSETSW2, TCSETSF2,
#endif
};

static int add_all(
	scmp_filter_ctx ctx, uint32_t action, const char *const *names, size_t n)
{
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++) {
		int number = seccomp_syscall_resolve_name(names[i]);

		if (number != __NR_SCMP_ERROR)
			r = seccomp_rule_add(ctx, action, number, 0);
	}
	return r;
}

static int allow_ioctls(scmp_filter_ctx ctx)
{
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(ioctls) && r == 0; i++)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
			SCMP_A1(SCMP_CMP_MASKED_EQ, 0xffffffff, ioctls[i]));
	return r;
}

/* Where the C library cannot look at clone3's arguments, it falls back to clone, whose flags
 * can be looked at. */
static int allow_threads(scmp_filter_ctx ctx)
{
	int r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);

	if (r == 0 && !WITH_SANITIZER)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
			SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
	return r;
}

static int allow_memory(scmp_filter_ctx ctx)
{
	int r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
		SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));

	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1,
			SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	return r;
}

/* Looking at our own limits, and abort(3). */
static int allow_rest(scmp_filter_ctx ctx)
{
	int r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 2,
		SCMP_A0(SCMP_CMP_EQ, 0), SCMP_A2(SCMP_CMP_EQ, 0));

	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
			SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid()));
	return r;
}

static int load_filter(void)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int r;

	if (!ctx)
		return -ENOMEM;
	r = add_all(ctx, SCMP_ACT_ALLOW, allowed, ARRAY_SIZE(allowed));
	if (r == 0)
		r = add_all(ctx, SCMP_ACT_KILL_PROCESS, deadly, ARRAY_SIZE(deadly));
	if (r == 0)
		r = allow_ioctls(ctx);
	if (r == 0)
		r = allow_threads(ctx);
	if (r == 0 && !WITH_SANITIZER)
		r = allow_memory(ctx);
	if (r == 0 && !WITH_SANITIZER)
		r = allow_rest(ctx);
	if (r == 0)
		r = seccomp_load(ctx);
	seccomp_release(ctx);
	return r;
}

/* --- everything else ---------------------------------------------------------------------- */

/* What the bounding set and the ambient ones hold is out of reach for want of new programs. */
static int drop_capabilities(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	const struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}};

	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 && errno != EINVAL)
		return -errno;
	return syscall(SYS_capset, &header, none) < 0 ? -errno : 0;
}

static int limit(int what, rlim_t value)
{
	const struct rlimit l = {.rlim_cur = value, .rlim_max = value};

	return setrlimit(what, &l) < 0 ? -errno : 0;
}

static int restrict_process(void)
{
	int r = 0;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
		prctl(PR_SET_DUMPABLE, WITH_SANITIZER, 0, 0, 0) < 0)
		return -errno;
	r = limit(RLIMIT_CORE, 0);
	/* What finds bad accesses reserves terabytes. */
	if (r == 0 && !WITH_SANITIZER)
		r = limit(RLIMIT_AS, SANDBOX_MEMORY);
	return r == 0 ? drop_capabilities() : r;
}

int sandbox_enter(struct error *err)
{
	int r;

	tzset(); /* reads its file now */
	r = restrict_process();
	if (r == 0)
		r = load_filter();
	return r < 0 ? error_set(err, r,
			       "cannot give up what is not needed (%s): does this kernel have "
			       "seccomp filters?",
			       strerror(-r))
		     : 0;
}
