/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * libgemel for C: a node of a gemel cluster in this process. It replicates, votes, fails over and
 * resynchronises block volumes by itself, with no gemeld beside it; the other node may run gemeld
 * or such a program, with the same configuration (gemel.toml(5)).
 *
 * Ownership. gemel_open() gives a node, gemel_close() takes it. Mirrors and volumes belong to their
 * node and are valid until its end. Buffers and the `user` pointers are the caller's; a buffer
 * stays untouched until its completion. Texts that a callback gets are valid during the call.
 *
 * Threads. Callbacks come on the loop's thread: the library's own (GEMEL_THREADS_ENGINE), or the
 * one that calls gemel_dispatch() (GEMEL_THREADS_CALLER). No callback comes inside the call that
 * caused it, and none after gemel_close(). They must not throw or wait. All functions may be called
 * from any thread, but where it says otherwise.
 *
 * Stability. Within the soname libgemel.so.0 no function, number or field changes its meaning; new
 * ones come with new symbol versions and at the end of structs, whose struct_size tells the library
 * which the caller knows.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Marks what libgemel.so exports. */
#define GEMEL_API __attribute__((visibility("default")))

/** A node: this process as a member of its cluster. */
typedef struct gemel_node gemel_node;
/** A mirror of a node: what is replicated and fails over as one. */
typedef struct gemel_mirror gemel_mirror;
/** A block volume of a mirror. */
typedef struct gemel_volume gemel_volume;

/** How a request or a command ended. */
enum gemel_error {
    GEMEL_OK = 0,               /**< Done. */
    GEMEL_INVALID_ARGUMENT = 1, /**< Beyond the end, too large, unknown flag. Nothing was done. */
    GEMEL_NOT_SERVING = 2,      /**< This node did not serve the mirror. Nothing was done. */
    GEMEL_OUTCOME_UNKNOWN = 3,  /**< The node ceased to serve meanwhile: it happened or not. */
    GEMEL_NO_SPACE = 4,         /**< No space or quota left below the volume. */
    GEMEL_IO = 5,               /**< The disk failed; this node is about to hand over. */
    GEMEL_UNSUPPORTED = 6,      /**< The file system below lacks what was asked for. */
    GEMEL_REFUSED = 7           /**< A command is not possible in the mirror's state. */
};

/** What a mirror is on this node. */
enum gemel_state {
    GEMEL_STATE_STOPPED = 0,   /**< Not taking part. */
    GEMEL_STATE_WAIT = 1,      /**< Wants to run but may not. */
    GEMEL_STATE_ALONE = 2,     /**< Serves; the peer does not hold the newest data. */
    GEMEL_STATE_PRIMARY = 3,   /**< Serves; every acknowledged change is on the peer too. */
    GEMEL_STATE_SECONDARY = 4, /**< Receives every change; ready to take over. */
    GEMEL_STATE_RESYNC = 5     /**< Is being brought up to date; may not take over. */
};

/** What may be asked of a mirror; `gemel` has the same. */
enum gemel_command_kind {
    GEMEL_COMMAND_START = 0,         /**< Joins the mirror on this node. */
    GEMEL_COMMAND_STOP = 1,          /**< Leaves it; a peer in sync takes over. */
    GEMEL_COMMAND_SWAP = 2,          /**< Exchanges the roles, with nothing lost. */
    GEMEL_COMMAND_PROMOTE_FORCE = 3, /**< Goes on alone when no vote can be had; may lose data. */
    GEMEL_COMMAND_RESYNC_FULL = 4    /**< Compares everything. */
};

/** Who runs the engine. */
enum gemel_threads {
    GEMEL_THREADS_ENGINE = 0, /**< A thread of the library's. */
    GEMEL_THREADS_CALLER = 1  /**< The caller, by gemel_dispatch() from its own event loop. */
};

/** What an event tells. */
enum gemel_event_kind {
    GEMEL_EVENT_STATE = 0,           /**< The mirror is in another state; `text` says why. */
    GEMEL_EVENT_SERVING = 1,         /**< Requests are accepted from now on. */
    GEMEL_EVENT_STOPPED_SERVING = 2, /**< They are not any more. */
    GEMEL_EVENT_ENDING = 3,          /**< A hand-over waits for gemel_end_use(). */
    GEMEL_EVENT_SIZE = 4,            /**< A volume (`text`) has grown. */
    GEMEL_EVENT_NOTICE = 5           /**< For people: `word` and `text`. */
};

/** Flag of changes: the completion also means stable storage on both nodes. */
#define GEMEL_DURABLE 1U

/** Something that happened; made by the library, which sets struct_size to what it knows. */
typedef struct gemel_event {
    uint32_t struct_size; /**< Bytes that are filled. */
    int32_t kind;         /**< enum gemel_event_kind. */
    gemel_mirror* mirror; /**< Of which mirror. */
    int32_t state;        /**< enum gemel_state, now. */
    int32_t reserved;     /**< 0. */
    const char* word;     /**< A notice's kind, else "". */
    const char* text;     /**< A sentence, may be "". */
} gemel_event;

/** A mirror as it was when last looked at. */
typedef struct gemel_status {
    uint32_t struct_size;        /**< In: bytes that the caller knows. Out: bytes filled. */
    int32_t state;               /**< enum gemel_state. */
    int32_t serves;              /**< 1: requests are accepted. */
    int32_t peer_connected;      /**< 1: there is a session with the peer. */
    uint64_t epoch;              /**< Counts the changes of the in-sync set. */
    uint64_t dirty_bytes;        /**< What the peer lacks, as far as this node knows. */
    int32_t resync_running;      /**< 1: a resync is under way, in either direction. */
    int32_t in_sync_count;       /**< How many nodes hold every acknowledged change. */
    uint64_t resync_done_bytes;  /**< Of the resync. */
    uint64_t resync_total_bytes; /**< May grow. */
    char peer[64];               /**< The other node's name. */
    char reason[512];            /**< Why it is in this state; cut if longer. */
} gemel_status;

/** A request has ended: `error` is an enum gemel_error. Exactly once for each request. */
typedef void (*gemel_done_fn)(void* user, int error);
/** A command has ended: GEMEL_OK, or GEMEL_REFUSED with the reason in `why`. Exactly once. */
typedef void (*gemel_command_fn)(void* user, int error, const char* why);
/** Something has happened. May come before gemel_open() returns. */
typedef void (*gemel_event_fn)(void* user, const gemel_event* event);
/** A line for a log, without newline; level 0 debug, 1 info, 2 warning, 3 error. Any thread. */
typedef void (*gemel_log_fn)(void* user, int level, const char* text);

/** How to open a node. Zeros and null pointers stand for the defaults. */
typedef struct gemel_options {
    uint32_t struct_size;        /**< sizeof(gemel_options): begin with GEMEL_OPTIONS_INIT. */
    uint32_t threads;            /**< enum gemel_threads. */
    const char* config_file;     /**< Path of a gemel.toml(5), or ... */
    const char* config_text;     /**< ... its text. Exactly one of the two. */
    const char* node;            /**< Which node this is; default: the host's name. */
    const char* state_directory; /**< Default: /var/lib/gemel. Made if missing. */
    const char* run_directory;   /**< Where `gemel` reaches the node; default: nowhere. */
    uint32_t spin_us;            /**< Look so long for new work before sleeping, microseconds. */
    uint32_t end_limit_ms;       /**< How long a hand-over waits for gemel_end_use(), ms. */
    gemel_event_fn on_event;     /**< May be null. */
    gemel_log_fn on_log;         /**< May be null. */
    void* user;                  /**< Given to both. */
} gemel_options;

/** Initial value of a gemel_options. */
#define GEMEL_OPTIONS_INIT \
    { .struct_size = sizeof(gemel_options) }

/**
 * The library's version, "0.1.0".
 * @return a constant. Any thread.
 */
GEMEL_API const char* gemel_version(void);

/**
 * A short text for an error.
 * @param error  any value; an unknown one gives "unknown error".
 * @return a constant. Any thread.
 */
GEMEL_API const char* gemel_error_text(int error);

/**
 * The word for a state: "alone".
 * @param state  any value; an unknown one gives "unknown".
 * @return a constant. Any thread.
 */
GEMEL_API const char* gemel_state_name(int state);

/**
 * Opens a node and lets it begin to take part. Waits for the disk. Needs CAP_SYS_ADMIN and
 * io_uring.
 * @param options  read during the call; what `user` points to stays the caller's.
 * @param why  gets a sentence for people on failure, cut to `why_size`; may be null.
 * @param why_size  bytes of `why`, with the terminating 0.
 * @return the node, for gemel_close(); null on failure, and then nothing runs.
 */
GEMEL_API gemel_node* gemel_open(const gemel_options* options, char* why, size_t why_size);

/**
 * Leaves the cluster in order: what the node serves is handed to a peer in sync, what is under way
 * completes, then nothing is called any more and the node is gone. May take some seconds.
 * @param node  from gemel_open(), or null. Called by the thread that dispatches, or, with
 * GEMEL_THREADS_ENGINE, by any but the library's; no other thread may use the node any more.
 */
GEMEL_API void gemel_close(gemel_node* node);

/**
 * GEMEL_THREADS_CALLER: what to wait for.
 * @param node  the node.
 * @return a descriptor of the library's, readable (POLLIN) whenever gemel_dispatch() has something
 * to do; not to be read or closed. -1 with GEMEL_THREADS_ENGINE. Any thread.
 */
GEMEL_API int gemel_descriptor(const gemel_node* node);

/**
 * GEMEL_THREADS_CALLER: does what there is to do, callbacks included, and returns without waiting.
 * Call it soon whenever the descriptor is readable: a node that is not dispatched for `detect`
 * holds up its peer's writes and is then left behind; from one that serves and is not dispatched
 * for 30 s the peer takes over.
 * @param node  the node. Only by the thread that opened it, and not from a callback.
 */
GEMEL_API void gemel_dispatch(gemel_node* node);

/**
 * How many mirrors the node has; constant.
 * @param node  the node. Any thread.
 * @return the number.
 */
GEMEL_API size_t gemel_mirror_count(const gemel_node* node);

/**
 * A mirror by index, in the order of the configuration.
 * @param node  the node. Any thread.
 * @param index  from 0.
 * @return null from gemel_mirror_count() on.
 */
GEMEL_API gemel_mirror* gemel_mirror_at(gemel_node* node, size_t index);

/**
 * A mirror by name.
 * @param node  the node. Any thread.
 * @param name  as configured.
 * @return null if this node has none of that name.
 */
GEMEL_API gemel_mirror* gemel_find_mirror(gemel_node* node, const char* name);

/**
 * A mirror's name.
 * @param mirror  the mirror. Any thread.
 * @return valid as long as the mirror.
 */
GEMEL_API const char* gemel_mirror_name(const gemel_mirror* mirror);

/**
 * Whether requests are accepted at this moment. One that comes too late ends as GEMEL_NOT_SERVING.
 * @param mirror  the mirror. Any thread.
 * @return 1 or 0.
 */
GEMEL_API int gemel_serves(const gemel_mirror* mirror);

/**
 * A mirror as of its last change; figures are at most one heartbeat old. Does not wait.
 * @param mirror  the mirror. Any thread.
 * @param status  filled up to the struct_size that the caller has set.
 * @return GEMEL_OK; GEMEL_INVALID_ARGUMENT: struct_size is too small to hold anything.
 */
GEMEL_API int gemel_mirror_status(const gemel_mirror* mirror, gemel_status* status);

/**
 * Asks a mirror for a command.
 * @param mirror  the mirror. Any thread.
 * @param command  enum gemel_command_kind; others end as GEMEL_REFUSED.
 * @param done  how it ended; swap and stop end when the roles have changed. May be null.
 * @param user  given to `done`.
 */
GEMEL_API void gemel_command(gemel_mirror* mirror, int command, gemel_command_fn done, void* user);

/**
 * The program has finished with the volumes: a hand-over that waits since GEMEL_EVENT_ENDING goes
 * on. Without one nothing happens.
 * @param mirror  the mirror. Any thread.
 */
GEMEL_API void gemel_end_use(gemel_mirror* mirror);

/**
 * How many volumes a mirror has; constant.
 * @param mirror  the mirror. Any thread.
 * @return the number.
 */
GEMEL_API size_t gemel_volume_count(const gemel_mirror* mirror);

/**
 * A volume by index, in the order of the configuration.
 * @param mirror  the mirror. Any thread.
 * @param index  from 0.
 * @return null from gemel_volume_count() on.
 */
GEMEL_API gemel_volume* gemel_volume_at(gemel_mirror* mirror, size_t index);

/**
 * A volume by name.
 * @param mirror  the mirror. Any thread.
 * @param name  as configured.
 * @return null if the mirror has none of that name.
 */
GEMEL_API gemel_volume* gemel_find_volume(gemel_mirror* mirror, const char* name);

/**
 * A volume's name.
 * @param volume  the volume. Any thread.
 * @return valid as long as the volume.
 */
GEMEL_API const char* gemel_volume_name(const gemel_volume* volume);

/**
 * A volume's size; it may grow (GEMEL_EVENT_SIZE), and never shrinks.
 * @param volume  the volume. Any thread.
 * @return bytes.
 */
GEMEL_API uint64_t gemel_volume_size(const gemel_volume* volume);

/**
 * The size of the blocks that are quickest; requests need no alignment.
 * @param volume  the volume. Any thread.
 * @return bytes, a power of two.
 */
GEMEL_API uint32_t gemel_block_size(const gemel_volume* volume);

/**
 * The largest gemel_read() and gemel_write().
 * @param volume  the volume. Any thread.
 * @return bytes.
 */
GEMEL_API uint32_t gemel_request_size_max(const gemel_volume* volume);

/**
 * Reads. Any number of requests may be under way; those of one thread are begun in order.
 * @param volume  the volume. Any thread.
 * @param offset  bytes from the volume's begin.
 * @param data  the caller's; filled when `done` says GEMEL_OK, not to be touched before.
 * @param size  bytes.
 * @param done  GEMEL_OK, GEMEL_INVALID_ARGUMENT, GEMEL_NOT_SERVING or GEMEL_IO.
 * @param user  given to `done`.
 */
GEMEL_API void gemel_read(gemel_volume* volume, uint64_t offset, void* data, size_t size,
                          gemel_done_fn done, void* user);

/**
 * Writes: `done` comes when both nodes hold it (this one, while it serves alone).
 * @param volume  the volume. Any thread.
 * @param offset  bytes from the volume's begin.
 * @param data  the caller's; stays as it is until `done`.
 * @param size  bytes.
 * @param flags  0 or GEMEL_DURABLE.
 * @param done  GEMEL_OK, GEMEL_INVALID_ARGUMENT, GEMEL_NOT_SERVING, GEMEL_OUTCOME_UNKNOWN,
 * GEMEL_NO_SPACE or GEMEL_IO.
 * @param user  given to `done`.
 */
GEMEL_API void gemel_write(gemel_volume* volume, uint64_t offset, const void* data, size_t size,
                           uint32_t flags, gemel_done_fn done, void* user);

/**
 * The range reads as zeros afterwards; the space below may be given back.
 * @param volume  the volume. Any thread.
 * @param offset  bytes from the volume's begin.
 * @param size  bytes, of any length inside the volume.
 * @param flags  0 or GEMEL_DURABLE.
 * @param done  as gemel_write().
 * @param user  given to `done`.
 */
GEMEL_API void gemel_zero(gemel_volume* volume, uint64_t offset, uint64_t size, uint32_t flags,
                          gemel_done_fn done, void* user);

/**
 * The range's content is of no interest any more: its whole blocks read as zeros and take no space
 * afterwards, the rest of it stays.
 * @param volume  the volume. Any thread.
 * @param offset  bytes from the volume's begin.
 * @param size  bytes, of any length inside the volume.
 * @param done  as gemel_write().
 * @param user  given to `done`.
 */
GEMEL_API void gemel_trim(gemel_volume* volume, uint64_t offset, uint64_t size, gemel_done_fn done,
                          void* user);

/**
 * Every change completed before this call is on stable storage on both nodes afterwards (on this
 * one, while it serves alone).
 * @param volume  the volume. Any thread.
 * @param done  GEMEL_OK, GEMEL_NOT_SERVING, GEMEL_OUTCOME_UNKNOWN or GEMEL_IO.
 * @param user  given to `done`.
 */
GEMEL_API void gemel_flush(gemel_volume* volume, gemel_done_fn done, void* user);

#ifdef __cplusplus
}
#endif
