/* SPDX-License-Identifier: MIT */
#include "fuse/view.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "fuse/pending.h"
#include "fuse/requests.h"

static void on_init(void *userdata, struct fuse_conn_info *conn)
{
	struct view *v = userdata;

	v->initialised = true;
	/* The kernel asks for "security.capability" before each first write otherwise. */
	if (conn->capable & FUSE_CAP_HANDLE_KILLPRIV)
		conn->want |= FUSE_CAP_HANDLE_KILLPRIV;
	if (conn->capable & FUSE_CAP_ATOMIC_O_TRUNC)
		conn->want |= FUSE_CAP_ATOMIC_O_TRUNC;
	/* Without it errors of a write, no space above all, come with that write. */
	conn->want &= ~(unsigned)FUSE_CAP_WRITEBACK_CACHE;
	conn->want &= ~(unsigned)(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE |
		FUSE_CAP_SPLICE_MOVE);
	conn->time_gran = 1;
}

const struct fuse_lowlevel_ops view_ops = {
	.init = on_init,
	.lookup = request_lookup,
	.forget = request_forget,
	.forget_multi = request_forget_multi,
	.getattr = request_getattr,
	.setattr = request_setattr,
	.mkdir = request_mkdir,
	.mknod = request_mknod,
	.symlink = request_symlink,
	.link = request_link,
	.unlink = request_unlink,
	.rmdir = request_rmdir,
	.rename = request_rename,
	.open = request_open,
	.create = request_create,
	.read = request_read,
	.write = request_write,
	.fallocate = request_fallocate,
	.flush = request_flush,
	.release = request_release,
	.fsync = request_fsync,
	.opendir = request_opendir,
	.readdir = request_readdir,
	.readdirplus = request_readdirplus,
	.releasedir = request_releasedir,
	.fsyncdir = request_fsync,
	.statfs = request_statfs,
	.getxattr = request_getxattr,
	.listxattr = request_listxattr,
	.setxattr = request_setxattr,
	.removexattr = request_removexattr,
};

static int on_journal(sd_event_source *s, int fd, uint32_t events, void *data)
{
	(void)s;
	(void)fd;
	(void)events;
	pending_journal_synced(data);
	return 0;
}

static int on_bytes(sd_event_source *s, int fd, uint32_t events, void *data)
{
	eventfd_t value;

	(void)s;
	(void)events;
	(void)!eventfd_read(fd, &value);
	pending_bytes_came(data);
	return 0;
}

int view_start(struct view *v)
{
	int r = sd_event_add_io(v->event, &v->journal_source,
		journal_event_fd(v->folder->journal), EPOLLIN, on_journal, v);

	if (r < 0)
		return r;
	return sd_event_add_io(v->event, &v->bytes_source, flash_event_fd(v->flash), EPOLLIN,
		on_bytes, v);
}

void view_stop(struct view *v)
{
	v->journal_source = sd_event_source_disable_unref(v->journal_source);
	v->bytes_source = sd_event_source_disable_unref(v->bytes_source);
	pending_end_all(v, -EIO);
	/* An unmount takes the kernel's last releases with it. */
	view_free_listings(v);
}
