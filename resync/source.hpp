// SPDX-License-Identifier: Apache-2.0
// The source of a resync: the serving node's part in one session (docs/resync.md). Each step reads
// the local state, sends it and clears the mark within one turn of the loop; a turn does a bounded
// amount of work, which the pacer (pacer.hpp) grants, so that applications go on. Paused by it,
// nothing more is sent of the difference, while ops and answers go on as they are.
//
// Use: Replica::attach_target(link), then set_resync_party(make_unique<ResyncSource>(...)). It
// waits for the target to begin. One object a session: after on_session_lost it does nothing any
// more. When nothing differs any more it calls Replica::report_resync_complete() once.
#pragma once

#include "engine/base/log.hpp"
#include "engine/mirror/replica.hpp"
#include "resync/chunk.hpp"
#include "resync/messages.hpp"
#include "resync/pacer.hpp"
#include "resync/progress.hpp"
#include "resync/read_ahead.hpp"

#include <deque>
#include <memory>
#include <set>
#include <string>
#include <unordered_set>
#include <vector>

namespace gemel {

class ResyncSource final : public ResyncParty {
   public:
    struct Options {
        bool full = false;  // compare everything, whatever the map says
    };
    static constexpr std::size_t kOutstandingItemsMax = 1024;
    static constexpr std::size_t kUnsentMax = 4 * kMiB;
    static constexpr std::size_t kTurnSteps = 512;
    // Requests of applications that wait go first for so many turns in a row.
    static constexpr unsigned kYieldsMax = 4;
    // More marked objects than this: the content of as many objects as the last listing had goes
    // before the next one, so that a walk over everything does not fill the memory. Not all
    // content: applications may make more of it than goes as long as there are names to be listed.
    static constexpr std::size_t kMarkedObjectsMax = 20'000;
    // So many small new files wait for their content to come from the disk, their descriptors still
    // open, while further ones are sent.
    static constexpr std::size_t kFreshWaitingMax = 256;

    // Requires: all references outlive it, read_ahead is the replica's; a session is attached.
    ResyncSource(Loop& loop, LogSink& log, Replica& replica, ResyncMemory& memory,
                 ResyncProgress& progress, ResyncPacer& pacer, ReadAhead& read_ahead,
                 const Options& options) noexcept;
    ~ResyncSource() override;

    Status intents_of(FrameType, Bytes, IntentSet&) noexcept override { return Status(); }
    [[nodiscard]] bool is_settled(std::uint16_t volume, ObjectId object) const noexcept override;
    Status on_frame(FrameType type, Bytes payload) noexcept override;
    void on_progress() noexcept override;
    void on_session_lost() noexcept override;

   private:
    enum class State : std::uint8_t {
        awaiting_hello,
        awaiting_intents,
        working,
        ending,    // resync_end is sent
        settling,  // resync_done is here; ops answered before may be on their way
        complete,
        over,  // the session is lost, or this node's disk failed
    };
    struct Item {
        enum class Kind : std::uint8_t { names, make, attributes, check, content };
        std::uint64_t number = 0;
        Kind kind = Kind::names;
        std::uint16_t volume = 0;
        ObjectId object;
        // What is covered; attributes of a file: from its size on, where they cut the target's off.
        std::uint64_t offset = 0, size = 0;
        std::uint64_t bytes = 0;  // counted in outstanding_bytes_
        bool unlisted = false;    // make: no listing names it
        // content: what it covers; check, answered with want: what differs. None: all of the range.
        std::vector<DirtyRange> pieces;
        std::vector<Digest128> blocks;  // check
    };
    struct Child {
        std::string name;
        ObjectId id;
    };
    // A directory being listed.
    struct Scan {
        bool active = false;
        std::uint16_t volume = 0;
        ObjectId directory;
        std::vector<Child> children;
        std::size_t next = 0;    // first child not looked at
        std::uint64_t turn = 0;  // when `children` was read
        unsigned passes = 0;
    };
    struct VolumeState {
        ObjectId names_cursor, object_cursor;
        // Sent with `make` and not answered: whether it needs checks is not known yet.
        std::unordered_set<ObjectId, ObjectIdHash> made;
        // Made there just now, or small and expected to be: its content is sent without a check. In
        // the order in which it is fetched from the disk. Some may be gone, or clean, by now.
        std::set<ObjectId> fresh;
        bool begin_full = false;
    };
    // source_session.cpp
    Status on_hello(Bytes payload) noexcept;
    Status on_intents(Bytes payload) noexcept;
    [[nodiscard]] bool continues_full(std::uint16_t volume) noexcept;
    void begin_work() noexcept;
    void begin_full(std::uint16_t volume) noexcept;
    void mark_orphans(std::uint16_t volume) noexcept;
    void estimate_total() noexcept;
    Status on_answers(Bytes payload) noexcept;
    Status settle(Item& item, const ItemAnswer& answer) noexcept;
    Status want(Item& item, const ItemAnswer& answer) noexcept;
    void peer_lacks(std::uint16_t volume, ObjectId object) noexcept;
    void remark(const Item& item) noexcept;
    Status on_done(Bytes payload) noexcept;
    [[nodiscard]] bool all_clean() noexcept;
    void try_end() noexcept;
    void try_complete() noexcept;
    void fail(Status reason, const std::string& what) noexcept;

    // source.cpp
    void schedule() noexcept;
    void work() noexcept;
    bool is_granted() noexcept;
    bool step() noexcept;  // false: nothing can be done now
    [[nodiscard]] bool may_send() const noexcept;
    [[nodiscard]] bool turn_over() const noexcept;
    ItemHead new_item(Item::Kind kind, std::uint16_t volume, ObjectId object) noexcept;
    void send(FrameType type, Bytes body = {}) noexcept;

    // source_names.cpp
    bool names_step(std::uint16_t volume) noexcept;
    bool choose_directory(std::uint16_t volume) noexcept;
    ObjectId highest_dirty(std::uint16_t volume, ObjectId directory) noexcept;
    bool read_children() noexcept;
    void scan_step() noexcept;
    void send_listing() noexcept;
    bool lost_directory(Status status) noexcept;

    // source_objects.cpp
    bool object_step(std::uint16_t volume) noexcept;
    bool fresh_step(std::uint16_t volume) noexcept;
    bool object_work(std::uint16_t volume, ObjectId object) noexcept;
    void send_object(std::uint16_t volume, ObjectId object, ObjectId parent,
                     std::string_view name) noexcept;
    void send_attributes(std::uint16_t volume, ObjectId object) noexcept;
    void send_in_parts(AttributesItem& item) noexcept;
    // False: it has to wait for changes of a block volume under way.
    bool content_step(std::uint16_t volume, ObjectId object) noexcept;
    bool want_step() noexcept;
    [[nodiscard]] std::vector<DirtyRange> small_ranges(std::uint16_t volume, ObjectId object,
                                                       std::uint64_t size) noexcept;
    bool small_step(std::uint16_t volume, ObjectId object, const FileStat& stat,
                    std::vector<DirtyRange> pieces) noexcept;
    Status read_pieces(std::uint16_t volume, Fd file, std::span<const DirtyRange> pieces,
                       ContentItem& item) noexcept;
    void send_pieces(ContentItem& item, std::uint16_t volume, ObjectId object, const FileStat& stat,
                     std::vector<DirtyRange> pieces) noexcept;
    void clear_content(std::uint16_t volume, ObjectId object, DirtyRange range,
                       std::uint64_t size) noexcept;
    [[nodiscard]] bool is_block(std::uint16_t volume) noexcept;
    void send_hole(std::uint16_t volume, ObjectId object, const FileStat& stat,
                   std::uint64_t offset, std::uint64_t size) noexcept;
    void send_content(std::uint16_t volume, ObjectId object, const FileStat& stat) noexcept;
    void send_check(std::uint16_t volume, ObjectId object) noexcept;
    // After an error about an object: gone is settled by the names, anything else ends the resync.
    void object_failed(std::uint16_t volume, ObjectId object, Status status,
                       std::string_view what) noexcept;

    [[nodiscard]] DirtyMap& map(std::uint16_t volume) noexcept {
        return replica_.dirty_map(volume);
    }

    Loop& loop_;
    LogSink& log_;
    Replica& replica_;
    ResyncMemory& memory_;
    ResyncProgress& progress_;
    ResyncPacer& pacer_;
    Options options_;
    State state_ = State::awaiting_hello;
    std::vector<VolumeState> volumes_;
    std::vector<IntentKey> peer_intents_;
    Uuid boot_, comparison_;  // the target's, remembered when the work begins
    bool boot_changed_ = false;
    Scan scan_;
    std::deque<Item> outstanding_;  // in order of number
    std::deque<Item> wants_;        // checks that the target answered with want
    std::uint64_t outstanding_bytes_ = 0;
    std::uint64_t next_number_ = 1;
    std::uint64_t end_number_ = 0;
    std::uint64_t turn_ = 0;
    std::size_t turn_bytes_ = 0, turn_steps_ = 0;
    std::size_t turn_bytes_max_ = 0;
    std::uint64_t contents_done_ = 0;    // objects whose content became clean
    std::uint64_t contents_wanted_ = 0;  // so many of them before the next listing, if crowded
    std::uint64_t turn_sent_ = 0;        // of turn_bytes_, what was put into the stream
    unsigned yields_ = 0;                // in a row
    bool expects_new_ = false;           // the last object made there had no older copy
    Timer pace_timer_;
    bool scheduled_ = false;
    bool reporting_ = false;
    Chunk chunk_;
    AlignedBuffer pieces_data_;
    ReadAhead& read_ahead_;
    ByteBuffer frame_;
    ResyncRate rate_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // for what is posted
};

}  // namespace gemel
