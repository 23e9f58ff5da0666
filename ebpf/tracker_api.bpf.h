/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the tracker's programs and its loader agree on: the one header of both sides. Layouts of
 * map entries, in the byte order and alignment of the machine. Whoever changes one changes
 * TRACKER_LAYOUT, by which a loader refuses to adopt maps that another version has pinned.
 *
 * The record is two hash tables, each there twice (a "set"): the programs write into the set that
 * the arrays active_objects and active_ranges name, the loader reads and empties the other one.
 */
#pragma once

#include <linux/types.h>

#define TRACKER_LAYOUT 1

#define TRACKER_DEVICES_MAX 16
#define TRACKER_COMM_SIZE 16

/* Content is recorded in units of 64 KiB, 64 of them in one word. */
#define TRACKER_UNIT_BITS 16
#define TRACKER_WORD_BITS 6
/* One change may set so many words; a longer one counts as the whole content. */
#define TRACKER_WORDS_MAX 16

/* struct tracker_state.what */
#define TRACKER_ATTRIBUTES 1u /* size, mode, owner, times or extended attributes */
#define TRACKER_NAMES 2u      /* entries of the directory */
#define TRACKER_CONTENT 4u    /* all of it */
#define TRACKER_RANGES 8u     /* content: the words in the table of ranges say which */
#define TRACKER_TAIL 16u      /* content: from `tail` to the end */
#define TRACKER_LOST 32u      /* of inode 0: changes of any object may be missing */

/* struct tracker_device.kind */
#define TRACKER_EXT4 1u
#define TRACKER_XFS 2u
#define TRACKER_BTRFS 3u

/* An object. Inode 0 stands for the whole file system. */
struct tracker_object {
	__u64 inode;
	__u32 device; /* major << 20 | minor, of the superblock */
	__u32 generation;
};

/* What changed of an object, and who was the first to change it. */
struct tracker_state {
	__u32 what;
	__u32 pid; /* thread group */
	__u32 uid;
	__u32 events;
	__u64 bytes; /* sum of the lengths of all changes of content */
	__u64 tail;
	char comm[TRACKER_COMM_SIZE];
};

/* Words of the content of an object: bit i of word w is unit 64 * w + i. */
struct tracker_word {
	struct tracker_object object;
	__u64 word;
};

struct tracker_device {
	__u32 device;
	__u32 kind;
	__u64 since_ns; /* watched since then, CLOCK_REALTIME */
};

struct tracker_devices {
	__u32 count;
	__u32 reserved;
	struct tracker_device device[TRACKER_DEVICES_MAX];
};

/* The process whose changes are not recorded: it knows them itself. */
struct tracker_owner {
	__u32 tgid; /* 0: nobody */
	__u32 reserved;
	__u64 start; /* of the thread group, in hundredths of a second since boot */
};

/* What could not be recorded as precisely as it should, since the programs were loaded. */
#define TRACKER_COUNT_OBJECTS_FULL 0 /* "compare everything" */
#define TRACKER_COUNT_RANGES_FULL 1  /* the whole content of one object */
#define TRACKER_COUNT_LONG 2         /* likewise, for a change of more than TRACKER_WORDS_MAX */
#define TRACKER_COUNTS 3

/* Written by loaders alone: what the next one has to know. */
struct tracker_meta {
	__u32 layout;
	__u32 state; /* 1: complete */
	__u64 loaded_ns; /* CLOCK_REALTIME */
	__u64 sequence;  /* of the last record that was taken */
	__u64 misses;    /* runs that the kernel skipped, as far as they have been reported */
	__u8 boot[16];
	__u8 program[16]; /* digest of the programs */
};
