// SPDX-License-Identifier: Apache-2.0
// What the parts of a Replica share: the world, the volumes, the session and what the peer lacks.
// Internal to engine/mirror.
#pragma once

#include "engine/mirror/replica.hpp"

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace gemel {

struct ReplicaContext {
    ReplicaContext(Loop& a_loop, LogSink& a_log, IntentLog& an_intent_log,
                   std::span<const std::unique_ptr<Volume>> all_volumes, ReplicaEvents& an_events,
                   const Replica::Options& the_options) noexcept
        : loop(a_loop),
          log(a_log),
          intents(an_intent_log),
          volumes(all_volumes),
          events(an_events),
          options(the_options),
          dirty(all_volumes.size()) {}

    Loop& loop;
    LogSink& log;
    IntentLog& intents;
    std::span<const std::unique_ptr<Volume>> volumes;
    ReplicaEvents& events;
    Replica::Options options;

    ReplicaRole role = ReplicaRole::idle;
    std::unique_ptr<PeerLink> link;
    std::unique_ptr<ResyncParty> resync;    // null: none runs
    std::unique_ptr<ResyncParty> verifier;  // null: nothing is compared
    // Ops go to the peer where its copy allows; false until both nodes' intents are united.
    bool shipping = false;
    Instant last_heard;           // a frame of the peer's
    std::vector<DirtyMap> dirty;  // one a volume
    // Objects that somebody else has made, met while the peer counted as equal: it lacks them, and
    // that is for the next resync to mend (what is known of one is sent then, not by ops).
    std::vector<std::pair<std::uint16_t, ObjectId>> found;
    ReplicaCounters counters;
    ByteBuffer scratch;  // for encoding a frame; never kept across a call
    // The disk failed in something that no op, session or service waits for (any more). The kernel
    // says so once: it is told now, or while idle at the beginning of the next service.
    std::function<void(Status)> disk_failed;

    [[nodiscard]] bool volume_exists(std::uint16_t index) const noexcept {
        return index < volumes.size();
    }
    // Ranges of block volumes that differ from the peer's until they have been sent again.
    struct ContentRange {
        std::uint16_t volume = 0;
        std::uint64_t offset = 0, size = 0;
    };
    std::vector<ContentRange> being_mended;
    // A change of a block volume has been carried out: who waited for it may go on.
    std::function<void()> block_progress;

    // Null: it is of another kind.
    [[nodiscard]] BlockVolume* block(std::uint16_t index) const noexcept {
        return volumes[index]->as_block();
    }
    // What is under way or being mended counts as touched in the round that begins now, so that its
    // intents are not cleared by one whose sync may not have covered it.
    void touch_in_flight() noexcept;
    // The volume has given an id to an object that was there without one.
    void object_found(std::uint16_t volume, ObjectId id) noexcept;
    // What is in `found` is marked from here on.
    void mark_found() noexcept;
    // Objects that a peer had begun to send.
    void empty_incoming() noexcept;
    // Of the ids of objects made here from now on.
    void set_allotment(std::uint32_t tag, std::uint64_t first_sequence) noexcept;
    void send_number(FrameType type, std::uint64_t number) noexcept;
    // The disk below this copy, or its log, can't be trusted any more.
    void local_failure(Status reason, std::string_view what) noexcept;
    // Closes and drops the session; safe inside a callback of the link's own.
    void drop_link() noexcept;
};

}  // namespace gemel
