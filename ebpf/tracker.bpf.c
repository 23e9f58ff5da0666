// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Records what changes on the watched file systems, whoever changes it, but for one process that
 * knows its own changes. docs/tracking.md says which attach point sees which change, and why
 * nothing is missed between two records.
 *
 * What must stay true: a change is in the record, or the record says that it may lack something
 * (TRACKER_CONTENT of the object, TRACKER_LOST of the file system). Nothing here waits, allocates
 * or depends on the reader; the ring buffer only wakes it.
 *
 * All programs hang on tracepoints, which a locked-down kernel allows too.
 */
#include "ebpf/vmlinux.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "ebpf/tracker_api.bpf.h"

#define S_IFMT 0170000
#define S_IFDIR 0040000
#define S_IFREG 0100000

#define PF_WQ_WORKER 0x20      /* include/linux/sched.h */
#define IOMAP_WRITE 0x1        /* include/linux/iomap.h */
#define IOMAP_ZERO 0x2
#define IOMAP_UNSHARE 0x80
#define IOCB_WRITE (1 << 18)   /* include/linux/fs.h */
#define PAGE_SHIFT 12
#define CLOCK_TICK_NS 10000000ULL /* of /proc/PID/stat */
#define EEXIST 17

/* Values of unnamed enumerations, found in the kernel's types by the loader. */
const volatile __u32 btrfs_delalloc_bit;
const volatile __u32 folio_head_bit;

struct objects {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(key_size, sizeof(struct tracker_object));
	__uint(value_size, sizeof(struct tracker_state));
};

struct ranges {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(key_size, sizeof(struct tracker_word));
	__uint(value_size, sizeof(__u64));
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct objects);
} active_objects SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct ranges);
} active_ranges SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tracker_devices);
} devices SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tracker_owner);
} owner SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, TRACKER_COUNTS);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tracker_meta);
} meta SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} wake SEC(".maps");

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* An inode as the record needs it; `kind` 0: nothing is to be recorded. */
struct subject {
	struct tracker_object object;
	__u32 kind;
	__u32 mode;
};

static const __u32 zero;

static __always_inline __u32 kind_of(__u32 device)
{
	const struct tracker_devices *watched = bpf_map_lookup_elem(&devices, &zero);

	if (!watched)
		return 0;
	for (__u32 i = 0; i < TRACKER_DEVICES_MAX; i++) {
		if (i >= watched->count)
			break;
		if (watched->device[i].device == device)
			return watched->device[i].kind;
	}
	return 0;
}

static __always_inline bool is_own(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	const struct tracker_owner *own = bpf_map_lookup_elem(&owner, &zero);

	/* A process that ended may have left its number to another. */
	return own && own->tgid && own->tgid == (__u32)task->tgid &&
	       own->start == task->group_leader->start_boottime / CLOCK_TICK_NS;
}

static __always_inline bool is_kworker(void)
{
	struct task_struct *task = bpf_get_current_task_btf();

	return task->flags & PF_WQ_WORKER;
}

static __always_inline void count(__u32 index)
{
	__u64 *value = bpf_map_lookup_elem(&counts, &index);

	if (value)
		__sync_fetch_and_add(value, 1);
}

/* Since one inode is an object of its own only while it lives: i_count is 0 once it is evicted. */
static __always_inline struct subject subject_of(struct inode *inode)
{
	struct subject subject = {};
	__u32 device = inode->i_sb->s_dev;

	subject.kind = kind_of(device);
	if (!subject.kind)
		return subject;
	if (is_own() || inode->i_count.counter == 0) {
		subject.kind = 0;
		return subject;
	}
	subject.object.inode = inode->i_ino;
	subject.object.device = device;
	subject.object.generation = inode->i_generation;
	subject.mode = inode->i_mode;
	return subject;
}

/* The same of an inode that was not come by in a way that the verifier can follow. */
static __always_inline struct subject subject_at(const struct inode *inode)
{
	struct subject subject = {};
	__u32 device = BPF_CORE_READ(inode, i_sb, s_dev);

	subject.kind = kind_of(device);
	if (!subject.kind)
		return subject;
	if (is_own() || BPF_CORE_READ(inode, i_count.counter) == 0) {
		subject.kind = 0;
		return subject;
	}
	subject.object.inode = BPF_CORE_READ(inode, i_ino);
	subject.object.device = device;
	subject.object.generation = BPF_CORE_READ(inode, i_generation);
	subject.mode = BPF_CORE_READ(inode, i_mode);
	return subject;
}

static __always_inline void or_bits(__u32 *what, __u32 bits)
{
	if ((*(volatile __u32 *)what & bits) != bits)
		__sync_fetch_and_or(what, bits);
}

/* What has changed on the file system is not known from here on, until the next record. */
static __noinline int lose(__u32 device)
{
	struct tracker_object everything = {};
	struct tracker_state *state;
	void *objects;

	objects = bpf_map_lookup_elem(&active_objects, &zero);
	if (!objects)
		return 0;
	/* The loader puts it there before a set is used. */
	everything.device = device;
	state = bpf_map_lookup_elem(objects, &everything);
	if (state)
		or_bits(&state->what, TRACKER_LOST);
	bpf_ringbuf_output(&wake, &device, sizeof(device), 0);
	return 0;
}

static __always_inline struct tracker_state *state_of(void *objects, struct subject *subject,
						      __u32 what)
{
	struct tracker_state *state, fresh = {};
	__u64 ids;

	state = bpf_map_lookup_elem(objects, &subject->object);
	if (state)
		return state;
	fresh.what = what;
	fresh.tail = ~0ULL;
	fresh.pid = bpf_get_current_pid_tgid() >> 32;
	ids = bpf_get_current_uid_gid();
	fresh.uid = (__u32)ids;
	bpf_get_current_comm(fresh.comm, sizeof(fresh.comm));
	bpf_map_update_elem(objects, &subject->object, &fresh, BPF_NOEXIST);
	state = bpf_map_lookup_elem(objects, &subject->object);
	if (!state) {
		count(TRACKER_COUNT_OBJECTS_FULL);
		lose(subject->object.device);
		return NULL;
	}
	bpf_ringbuf_output(&wake, &subject->object.device, sizeof(__u32), 0);
	return state;
}

static __always_inline bool set_units(void *ranges, struct tracker_word *key, __u64 mask)
{
	__u64 *word = bpf_map_lookup_elem(ranges, key);

	if (!word) {
		__u64 none = 0;

		bpf_map_update_elem(ranges, key, &none, BPF_NOEXIST);
		word = bpf_map_lookup_elem(ranges, key);
		if (!word)
			return false;
	}
	if ((*(volatile __u64 *)word & mask) != mask)
		__sync_fetch_and_or(word, mask);
	return true;
}

/* Requires: begin < end. False: not all of it could be recorded. */
static __always_inline bool set_range(struct subject *subject, __u64 begin, __u64 end)
{
	const __u64 per_word = 1 << TRACKER_WORD_BITS;
	__u64 unit = begin >> TRACKER_UNIT_BITS;
	__u64 last = (end - 1) >> TRACKER_UNIT_BITS;
	struct tracker_word key = { .object = subject->object };
	void *ranges = bpf_map_lookup_elem(&active_ranges, &zero);

	if (!ranges)
		return false;
	for (int i = 0; i < TRACKER_WORDS_MAX; i++) {
		__u64 first_bit = unit & (per_word - 1);
		__u64 units = last - unit + 1;
		__u64 mask = ~0ULL;

		if (units > per_word - first_bit)
			units = per_word - first_bit;
		if (units < per_word)
			mask = ((1ULL << units) - 1) << first_bit;
		key.word = unit >> TRACKER_WORD_BITS;
		if (!set_units(ranges, &key, mask)) {
			count(TRACKER_COUNT_RANGES_FULL);
			return false;
		}
		unit += units;
		if (unit > last)
			return true;
	}
	count(TRACKER_COUNT_LONG);
	return false;
}

static __always_inline void lower_tail(struct tracker_state *state, __u64 tail)
{
	for (int i = 0; i < 4; i++) {
		__u64 old = *(volatile __u64 *)&state->tail;

		if (old <= tail || __sync_val_compare_and_swap(&state->tail, old, tail) == old) {
			or_bits(&state->what, TRACKER_TAIL);
			return;
		}
	}
	or_bits(&state->what, TRACKER_CONTENT);
}

/* `what`: attributes, names or content; of ranges [begin, end), of a tail what follows `begin`. */
static __always_inline void note(struct subject *subject, __u32 what, __u64 begin, __u64 end)
{
	struct tracker_state *state;
	void *objects;

	if (!subject->kind)
		return;
	objects = bpf_map_lookup_elem(&active_objects, &zero);
	if (!objects)
		return;
	state = state_of(objects, subject, what & ~TRACKER_TAIL);
	if (!state)
		return;
	if (what & TRACKER_RANGES) {
		__sync_fetch_and_add(&state->bytes, end - begin);
		if (!(*(volatile __u32 *)&state->what & TRACKER_CONTENT) &&
		    !set_range(subject, begin, end))
			what |= TRACKER_CONTENT;
	}
	if (what & TRACKER_TAIL)
		lower_tail(state, begin);
	or_bits(&state->what, what & ~TRACKER_TAIL);
	__sync_fetch_and_add(&state->events, 1);
}

static __always_inline bool is_file(const struct subject *subject)
{
	return (subject->mode & S_IFMT) == S_IFREG;
}

static __noinline int note_range(struct subject *subject, __u64 begin, __u64 end)
{
	if (!subject || !is_file(subject))
		return 0;
	/* Nothing is known of a change without a length, or of one from nowhere. */
	if (end <= begin || (__s64)begin < 0)
		note(subject, TRACKER_CONTENT, 0, 0);
	else
		note(subject, TRACKER_RANGES, begin, end);
	return 0;
}

static __noinline int note_tail(struct subject *subject, __u64 begin)
{
	if (!subject || !is_file(subject))
		return 0;
	if (begin == 0)
		note(subject, TRACKER_CONTENT, 0, 0);
	else
		note(subject, TRACKER_TAIL, begin, 0);
	return 0;
}

static __noinline int note_content(struct subject *subject)
{
	if (subject && is_file(subject))
		note(subject, TRACKER_CONTENT, 0, 0);
	return 0;
}

/*
 * Every change that an application makes sets the change time of what it changes, a change of
 * names that of the directory. The kernel says so even where the time stays the same.
 */
static __noinline int note_changed(struct subject *subject)
{
	__u32 what = TRACKER_ATTRIBUTES;

	if (!subject)
		return 0;
	if ((subject->mode & S_IFMT) == S_IFDIR)
		what |= TRACKER_NAMES;
	/* Btrfs has no point at its changes of whole ranges: see docs/tracking.md. */
	if (subject->kind == TRACKER_BTRFS && is_file(subject))
		what |= TRACKER_CONTENT;
	note(subject, what, 0, 0);
	return 0;
}

/* I_NEW is the same bit since 6.12, and the points that need it came with 6.13. */
static __always_inline bool is_new(struct inode *inode)
{
	struct inode___enum *now = (void *)inode;
	struct inode___int *before = (void *)inode;

	if (bpf_core_field_exists(now->i_state))
		return now->i_state & I_NEW;
	return before->i_state & I_NEW;
}

/*
 * An inode that is being read from the disk or made gets its times too: it is not complete yet.
 * One that is made is in no hash table before it has its generation. What is in that field until
 * then belongs to an earlier inode; or it is 0, and that handle leads to whatever has this number.
 */
static __always_inline bool is_complete(struct inode *inode)
{
	unsigned long list = (unsigned long)inode + bpf_core_field_offset(struct inode, i_sb_list);

	return !is_new(inode) && inode->i_hash.pprev &&
	       (unsigned long)inode->i_sb_list.next != list;
}

static __always_inline int changed(struct inode *inode)
{
	struct subject subject = subject_of(inode);

	return subject.kind && is_complete(inode) ? note_changed(&subject) : 0;
}

SEC("tp_btf/ctime_ns_xchg")
int BPF_PROG(ctime_ns_xchg, struct inode *inode)
{
	return changed(inode);
}

SEC("tp_btf/ctime_xchg_skip")
int BPF_PROG(ctime_xchg_skip, struct inode *inode)
{
	return changed(inode);
}

SEC("tp_btf/inode_set_ctime_to_ts")
int BPF_PROG(inode_set_ctime_to_ts, struct inode *inode)
{
	return changed(inode);
}

/*
 * Once its root is gone a file system is being unmounted. Nobody can tell what happens to its disk
 * until it is mounted again.
 */
static __always_inline int evicted(struct inode *inode)
{
	struct super_block *sb = inode->i_sb;

	if (!sb->s_root && kind_of(sb->s_dev))
		lose(sb->s_dev);
	return 0;
}

SEC("tp_btf/ext4_evict_inode")
int BPF_PROG(ext4_evict_inode, struct inode *inode)
{
	return evicted(inode);
}

SEC("tp_btf/xfs_destroy_inode")
int BPF_PROG(xfs_destroy_inode, struct xfs_inode *ip)
{
	return evicted(&ip->i_vnode);
}

SEC("tp_btf/btrfs_inode_evict")
int BPF_PROG(btrfs_inode_evict, struct inode *inode)
{
	return evicted(inode);
}

/* --- iomap: all of XFS's data, direct I/O of the others ---------------------------------------*/

/*
 * At the beginning of each step and after the last one. In the first call pos and len are all that
 * is to come; afterwards what lies between iter_start_pos and pos has just been done.
 */
SEC("tp_btf/iomap_iter")
int BPF_PROG(iomap_iter, struct iomap_iter *iter)
{
	struct subject subject;
	__u64 begin, end;

	if (!(iter->flags & (IOMAP_WRITE | IOMAP_ZERO | IOMAP_UNSHARE)))
		return 0;
	subject = subject_of(iter->inode);
	if (!subject.kind)
		return 0;
	begin = iter->pos;
	end = begin + iter->len;
	if (bpf_core_field_exists(iter->iter_start_pos) && iter->iomap.length &&
	    iter->iter_start_pos < iter->pos)
		begin = iter->iter_start_pos;
	/* A step that did nothing at the end of what there was. */
	if (begin == end)
		return 0;
	return note_range(&subject, begin, end);
}

SEC("tp_btf/iomap_dio_complete")
int BPF_PROG(iomap_dio_complete, struct kiocb *iocb, int error, __s64 done)
{
	struct subject subject;

	if (!(iocb->ki_flags & IOCB_WRITE))
		return 0;
	subject = subject_of(iocb->ki_filp->f_inode);
	if (!subject.kind)
		return 0;
	/* The position has been moved already. */
	if (done > 0)
		return note_range(&subject, iocb->ki_pos - done, iocb->ki_pos);
	return note_content(&subject);
}

/* --- ext4 -------------------------------------------------------------------------------------*/

SEC("tp_btf/ext4_da_write_end")
int BPF_PROG(ext4_da_write_end, struct inode *inode, loff_t pos, unsigned int len)
{
	struct subject subject = subject_of(inode);

	return subject.kind ? note_range(&subject, pos, pos + len) : 0;
}

SEC("tp_btf/ext4_write_end")
int BPF_PROG(ext4_write_end, struct inode *inode, loff_t pos, unsigned int len)
{
	struct subject subject = subject_of(inode);

	return subject.kind ? note_range(&subject, pos, pos + len) : 0;
}

SEC("tp_btf/ext4_journalled_write_end")
int BPF_PROG(ext4_journalled_write_end, struct inode *inode, loff_t pos, unsigned int len)
{
	struct subject subject = subject_of(inode);

	return subject.kind ? note_range(&subject, pos, pos + len) : 0;
}

/*
 * A store through a mapping that finds the page write-protected, whether it is dirty or not; and
 * every block that a write, or the zeroing of part of one, touches.
 */
SEC("tp_btf/block_dirty_buffer")
int BPF_PROG(block_dirty_buffer, struct buffer_head *buffer)
{
	struct block_device *device = buffer->b_bdev;
	struct address_space *mapping;
	struct subject subject;
	__u64 flags = 0, folio = 0, size, pos;
	struct inode *inode;
	__u32 order = 0;

	if (!device || !kind_of(device->bd_dev) || is_own())
		return 0;
	bpf_probe_read_kernel(&folio, sizeof(folio), &buffer->b_page);
	mapping = BPF_CORE_READ((struct folio *)folio, mapping);
	if (!mapping)
		return 0;
	inode = BPF_CORE_READ(mapping, host);
	subject = subject_at(inode);
	if (!subject.kind) /* metadata: the block device's own page */
		return 0;
	/* The flags are the first word of a folio; a large one keeps its order in the second page. */
	bpf_probe_read_kernel(&flags, sizeof(flags), (void *)folio);
	if (flags & (1ULL << folio_head_bit))
		order = BPF_CORE_READ((struct folio *)folio, _flags_1) & 0xff;
	size = (1ULL << PAGE_SHIFT) << (order & 31);
	/* Folios lie at multiples of their size. */
	pos = BPF_CORE_READ((struct folio *)folio, index) << PAGE_SHIFT;
	pos += (unsigned long)buffer->b_data & (size - 1);
	return note_range(&subject, pos, pos + buffer->b_size);
}

SEC("tp_btf/ext4_truncate_enter")
int BPF_PROG(ext4_truncate_enter, struct inode *inode)
{
	struct subject subject = subject_of(inode);

	return subject.kind ? note_tail(&subject, inode->i_size) : 0;
}

SEC("tp_btf/ext4_fallocate_enter")
int BPF_PROG(ext4_fallocate_enter, struct inode *inode, loff_t offset, loff_t len)
{
	struct subject subject = subject_of(inode);

	return subject.kind ? note_range(&subject, offset, offset + len) : 0;
}

SEC("tp_btf/ext4_punch_hole")
int BPF_PROG(ext4_punch_hole, struct inode *inode, loff_t offset, loff_t len)
{
	struct subject subject = subject_of(inode);

	return subject.kind ? note_range(&subject, offset, offset + len) : 0;
}

SEC("tp_btf/ext4_zero_range")
int BPF_PROG(ext4_zero_range, struct inode *inode, loff_t offset, loff_t len)
{
	struct subject subject = subject_of(inode);

	return subject.kind ? note_range(&subject, offset, offset + len) : 0;
}

SEC("tp_btf/ext4_collapse_range")
int BPF_PROG(ext4_collapse_range, struct inode *inode, loff_t offset)
{
	struct subject subject = subject_of(inode);

	return subject.kind ? note_tail(&subject, offset) : 0;
}

SEC("tp_btf/ext4_insert_range")
int BPF_PROG(ext4_insert_range, struct inode *inode, loff_t offset)
{
	struct subject subject = subject_of(inode);

	return subject.kind ? note_tail(&subject, offset) : 0;
}

/* --- XFS --------------------------------------------------------------------------------------*/

SEC("tp_btf/xfs_itruncate_extents_start")
int BPF_PROG(xfs_itruncate_extents_start, struct xfs_inode *ip, xfs_fsize_t new_size)
{
	struct subject subject = subject_of(&ip->i_vnode);

	if (!subject.kind)
		return 0;
	/* What was allocated behind the end in advance is given back in the background. */
	if (is_kworker() && new_size >= ip->i_vnode.i_size)
		return 0;
	return note_tail(&subject, new_size);
}

static __always_inline int xfs_content(struct xfs_inode *ip)
{
	struct subject subject = subject_of(&ip->i_vnode);

	return subject.kind ? note_content(&subject) : 0;
}

SEC("tp_btf/xfs_alloc_file_space")
int BPF_PROG(xfs_alloc_file_space, struct xfs_inode *ip)
{
	return xfs_content(ip);
}

SEC("tp_btf/xfs_free_file_space")
int BPF_PROG(xfs_free_file_space, struct xfs_inode *ip)
{
	return xfs_content(ip);
}

SEC("tp_btf/xfs_zero_file_space")
int BPF_PROG(xfs_zero_file_space, struct xfs_inode *ip)
{
	return xfs_content(ip);
}

SEC("tp_btf/xfs_collapse_file_space")
int BPF_PROG(xfs_collapse_file_space, struct xfs_inode *ip)
{
	return xfs_content(ip);
}

SEC("tp_btf/xfs_insert_file_space")
int BPF_PROG(xfs_insert_file_space, struct xfs_inode *ip)
{
	return xfs_content(ip);
}

SEC("tp_btf/xfs_swap_extent_before")
int BPF_PROG(xfs_swap_extent_before, struct xfs_inode *ip)
{
	return xfs_content(ip);
}

SEC("tp_btf/xfs_exchrange_before")
int BPF_PROG(xfs_exchrange_before, struct xfs_inode *ip)
{
	return xfs_content(ip);
}

SEC("tp_btf/xfs_reflink_unshare")
int BPF_PROG(xfs_reflink_unshare, struct xfs_inode *ip)
{
	return xfs_content(ip);
}

SEC("tp_btf/xfs_reflink_remap_range")
int BPF_PROG(xfs_reflink_remap_range, struct xfs_inode *source, xfs_off_t source_offset,
	     xfs_off_t len, struct xfs_inode *ip, xfs_off_t offset)
{
	struct subject subject = subject_of(&ip->i_vnode);

	return subject.kind ? note_range(&subject, offset, offset + len) : 0;
}

/* --- Btrfs ------------------------------------------------------------------------------------*/

SEC("tp_btf/btrfs_set_extent_bit")
int BPF_PROG(btrfs_set_extent_bit, struct extent_io_tree *tree, __u64 start, __u64 len,
	     unsigned int bits)
{
	struct btrfs_inode *inode = NULL;
	struct subject subject;

	/* Every page that is written to, dirty or not, is marked so. */
	if (!(bits & btrfs_delalloc_bit))
		return 0;
	bpf_probe_read_kernel(&inode, sizeof(inode), &tree->inode);
	/* Trees of other kinds keep something else there. */
	if ((unsigned long)inode + bpf_core_field_offset(struct btrfs_inode, io_tree) !=
	    (unsigned long)tree)
		return 0;
	subject = subject_at((struct inode *)((unsigned long)inode +
		bpf_core_field_offset(struct btrfs_inode, vfs_inode)));
	return subject.kind ? note_range(&subject, start, start + len) : 0;
}
