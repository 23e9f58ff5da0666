/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The kernel's types as far as tracker.bpf.c looks into them, kept by hand. Only names and types
 * of the fields count: where they are is put right for the running kernel when the programs are
 * loaded (CO-RE). Interfaces for user space come from linux/bpf.h.
 */
#pragma once

#include <linux/bpf.h>
#include <linux/types.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef _Bool bool;
enum { false = 0, true = 1 };

typedef __u32 dev_t;
typedef __s64 loff_t;
typedef __s64 xfs_fsize_t;
typedef __s64 xfs_off_t;

struct list_head {
	struct list_head *next, *prev;
};

struct hlist_node {
	struct hlist_node *next, **pprev;
};

typedef struct {
	int counter;
} atomic_t;

struct task_struct {
	unsigned int flags;
	int tgid;
	struct task_struct *group_leader;
	__u64 start_boottime;
};

struct dentry;

struct super_block {
	dev_t s_dev;
	struct dentry *s_root;
};

struct address_space;

struct inode {
	unsigned short i_mode;
	struct super_block *i_sb;
	unsigned long i_ino;
	loff_t i_size;
	struct hlist_node i_hash;
	struct list_head i_sb_list;
	atomic_t i_count;
	__u32 i_generation;
};

/* i_state is an enumeration since 6.18. */
enum inode_state_flags_t {
	I_NEW = 1,
};

struct inode___enum {
	enum inode_state_flags_t i_state;
};

struct inode___int {
	__u32 i_state;
};

struct address_space {
	struct inode *host;
};

struct file {
	struct inode *f_inode;
};

struct kiocb {
	struct file *ki_filp;
	loff_t ki_pos;
	int ki_flags;
};

struct block_device {
	dev_t bd_dev;
};

struct page;

struct buffer_head {
	struct page *b_page; /* or b_folio, at the same place */
	__u64 b_size;
	char *b_data;
	struct block_device *b_bdev;
};

struct folio {
	struct address_space *mapping;
	unsigned long index;
	unsigned long _flags_1;
};

struct iomap {
	__u64 length;
};

struct iomap_iter {
	struct inode *inode;
	loff_t pos;
	__u64 len;
	loff_t iter_start_pos; /* since 6.14 */
	unsigned int flags;
	struct iomap iomap;
};

struct xfs_inode {
	struct inode i_vnode;
};

struct btrfs_inode;

struct extent_io_tree {
	struct btrfs_inode *inode; /* of a tree that belongs to an inode; since 6.9 */
};

struct btrfs_inode {
	struct extent_io_tree io_tree;
	struct inode vfs_inode;
};

struct btrfs_ordered_extent {
	__u64 file_offset;
	__u64 num_bytes;
};

#pragma clang attribute pop
