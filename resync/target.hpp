// SPDX-License-Identifier: Apache-2.0
// The target of a resync: one session's part of the node that is being filled (docs/resync.md). It
// changes its copy as the items say, in stream order, and answers each; it decides nothing but what
// it already has. Nothing is destroyed before the end: what loses its last name goes to detached/.
//
// Use: Replica::begin_following(link, true), then target->start(), then set_resync_party. A volume
// with another id becomes the source's volume (its ids are void then): whether that may be is for
// the owner to judge before.
#pragma once

#include "engine/base/log.hpp"
#include "engine/mirror/replica.hpp"
#include "resync/before_image.hpp"
#include "resync/chunk.hpp"
#include "resync/messages.hpp"
#include "resync/progress.hpp"
#include "resync/read_ahead.hpp"

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

namespace gemel {

class ResyncTarget final : public ResyncParty {
   public:
    struct Options {
        // What is on the disk is not known (restored, released, used otherwise).
        bool must_compare = false;
        // Another one whenever there is a new reason for that, or for an intent of a whole volume.
        Uuid comparison;
        // A disk failed under this copy: what the cache shows may not be what the disk has.
        bool distrusts_cache = false;
        // Gets what is about to be changed; none: nothing is kept.
        BeforeImage* before = nullptr;
    };
    // Requires: all references outlive it, read_ahead is the replica's.
    ResyncTarget(Loop& loop, LogSink& log, Replica& replica, ResyncProgress& progress,
                 ReadAhead& read_ahead, const Options& options) noexcept;
    ~ResyncTarget() override;

    // Sends what the source begins with. Requires: the replica has a session; called once.
    void start() noexcept;

    Status intents_of(FrameType type, Bytes payload, IntentSet& set) noexcept override;
    [[nodiscard]] bool is_ready(FrameType type, Bytes payload) noexcept override;
    Status on_frame(FrameType type, Bytes payload) noexcept override;
    Status before_op(const Op& op) noexcept override {
        return options_.before == nullptr ? Status() : options_.before->keep(op);
    }
    void on_progress() noexcept override {}
    void on_session_lost() noexcept override;

   private:
    struct Listing {
        std::uint64_t number = 0;  // 0: none is being received
        ObjectId directory;
        std::unordered_map<std::string, ObjectId> entries;
    };

    // Extended attributes that come in several frames.
    struct Parts {
        std::uint64_t number = 0;  // of the item; 0: none is coming in
        ObjectId object;
        std::vector<std::pair<std::string, ByteBuffer>> xattrs;
    };

    Status on_plan(Bytes payload) noexcept;
    Status on_names(Bytes payload) noexcept;
    Status on_attributes(Bytes payload) noexcept;
    Status on_check(Bytes payload) noexcept;
    Status on_content(Bytes payload) noexcept;
    Status on_end(Bytes payload) noexcept;
    Status take_number(const ItemHead& head) noexcept;
    void note_progress(const ItemHead& head) noexcept;
    void answer(const ItemAnswer& answer) noexcept;
    void answer(std::uint64_t number, Verdict verdict) noexcept {
        answer({number, verdict, {}, {}});
    }
    void fail(Status reason, const std::string& what) noexcept;

    // target_names.cpp
    void reconcile(const NamesItem& item) noexcept;
    Status detach_superfluous(DirectoryVolume& volume) noexcept;
    Status place_missing(const ItemHead& head, ItemAnswer& answer) noexcept;
    Status keep_place(const ItemHead& head, ObjectId object) noexcept;

    // target_objects.cpp
    Status make(const AttributesItem& item, bool& made) noexcept;
    bool adopt(const AttributesItem& item) noexcept;
    Status take_part(AttributesItem& item) noexcept;
    Status write_file(DirectoryVolume& target, const ContentItem& item) noexcept;
    Status write_content(const ContentItem& item) noexcept;
    Status write_segments(const ContentItem& item) noexcept;
    Status punch(const ContentItem& item, std::uint64_t begin, std::uint64_t end) noexcept;

    Status keep(std::uint16_t volume, ObjectId object) noexcept {
        return options_.before == nullptr ? Status() : options_.before->keep(volume, object);
    }
    [[nodiscard]] Volume& volume(const ItemHead& head) noexcept {
        return replica_.volume(head.volume);
    }
    // Requires: it is one.
    [[nodiscard]] DirectoryVolume& directory(const ItemHead& head) noexcept {
        return replica_.directory(head.volume);
    }

    Loop& loop_;
    LogSink& log_;
    Replica& replica_;
    ResyncProgress& progress_;
    Options options_;
    bool planned_ = false;  // the source's plan is here
    bool over_ = false;
    std::uint64_t number_ = 0;  // of the last item
    Listing listing_;
    Parts parts_;
    Chunk chunk_;
    ReadAhead& read_ahead_;
    ByteBuffer frame_;
    ByteBuffer answers_;  // of this turn
    ResyncRate rate_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // for what is posted
};

}  // namespace gemel
