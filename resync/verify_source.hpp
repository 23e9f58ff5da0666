// SPDX-License-Identifier: Apache-2.0
// The serving node's part in a verify (docs/verify.md): compares both copies while they are in
// sync and applications write.
//
// Why it raises no false alarm. While the two are in sync there is one ordered stream, and an op is
// put into it in the very turn in which it is carried out here (I2 of replica.hpp), the frames of a
// turn in their order. What is compared is read and put into the stream within one turn, too, and
// the other node reads its side when it has applied exactly what came before in the stream. So both
// look at the state after the same ops, and
//
// Invariant: at the point of the stream where a unit stands, the two copies of it are equal, unless
// something but an op has changed one of them.
//
// Changes of block volumes are the exception, as they are carried out beside the stream: a range is
// compared only when nothing is under way in it, on either node. A unit that differs is asked for
// again by a question, at a later point, to learn what differs; only what differs then, too, is
// reported. That also settles what digests leave open: a file system calls a preallocated page data
// while it is cached, so a difference of holes counts only if it stays when the caches are dropped.
//
// Bounded: a turn reads kTurnBytes and kTurnUnits at most, kOutstandingMax checks are on their way,
// and over time no more than the rate allows; objects and names count as kObjectCost and
// kEntryCost.
//
// Use: in role primary, Replica::set_verify_party(make_unique<VerifySource>(...)), then start().
#pragma once

#include "engine/mirror/replica.hpp"
#include "resync/progress.hpp"
#include "resync/verify_compare.hpp"
#include "resync/verify_messages.hpp"
#include "resync/verify_report.hpp"
#include "resync/verify_walk.hpp"

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace gemel {

// Bytes a second that a verify reads on each node, unless told otherwise.
inline constexpr std::uint64_t kVerifyRateDefault = 64 * kMiB;

enum class VerifyEnd : std::uint8_t {
    complete,  // everything has been compared
    stopped,   // stop()
    lost,      // the session is over, or this node's role
    failed,    // a copy could not be read
};

class VerifySource final : public ResyncParty {
   public:
    struct Options {
        std::uint64_t rate = kVerifyRateDefault;  // 0: no limit
        // Both from the loop. The first time something of an object is found to differ.
        std::function<void(std::uint16_t volume, const std::string& path)> on_difference;
        // Exactly once, with a sentence unless it is complete. May come after the destruction.
        std::function<void(VerifyEnd end, const std::string& why)> on_end;
    };
    static constexpr std::uint64_t kTurnBytes = kCheckSizeMax;
    static constexpr std::size_t kTurnUnits = 128;
    static constexpr std::size_t kOutstandingMax = 2;
    static constexpr std::size_t kUnsentMax = kMiB;
    static constexpr std::uint64_t kObjectCost = 4 * kKiB;
    static constexpr std::uint64_t kEntryCost = 256;
    // The walk pauses while more than this is to be asked.
    static constexpr std::size_t kQuestionsMax = 256;
    // Likewise of files, and of directories to be compared name by name.
    static constexpr std::size_t kWaitingMax = 256;

    // Requires: all references outlive it; the role is primary.
    VerifySource(Loop& loop, Replica& replica, ResyncProgress& progress, VerifyReport& report,
                 Options options) noexcept;
    ~VerifySource() override;

    void start() noexcept;
    void stop() noexcept { end(VerifyEnd::stopped, "stopped by a person"); }

    Status intents_of(FrameType, Bytes, IntentSet&) noexcept override { return Status(); }
    Status on_frame(FrameType type, Bytes payload) noexcept override;
    void on_progress() noexcept override;
    void on_shipped(const Op& op) noexcept override;
    void on_session_lost() noexcept override;

   private:
    // A unit and where it stands: in the directory, under the name; names and listing: the
    // directory itself.
    struct Item {
        VerifyUnit unit;
        VerifyWalk::Met met;
    };
    struct Check {
        std::uint64_t number = 0;
        std::vector<Item> items;
    };
    // A file's content from `begin` on. `is_fine`: holes in pieces that can be read.
    struct Content {
        std::uint16_t volume = 0;
        VerifyWalk::Met met;
        std::uint64_t begin = 0, end = DirtyRange::kEndOfObject;
        bool is_fine = false;
    };
    // A directory whose names are compared one by one: first those that the other node has.
    struct NameByName {
        std::uint16_t volume = 0;
        VerifyWalk::Directory directory;
        std::uint64_t position = 0;
        bool theirs_are_done = false;
    };
    struct Question {
        std::uint64_t number = 0;
        Item item;
        // What is here, at the moment of asking.
        std::optional<ObjectDescription> description;
        std::vector<BlockMark> blocks;
    };

    // verify_source.cpp
    void schedule() noexcept;
    void work() noexcept;
    void refill() noexcept;
    void wait_for_rate() noexcept;
    [[nodiscard]] bool may_send() const noexcept;
    bool step() noexcept;  // false: nothing can be done now
    bool walk_step() noexcept;
    bool object_step() noexcept;
    bool content_step() noexcept;
    [[nodiscard]] std::uint64_t quiet_limit(const Content& content, std::uint64_t limit) noexcept;
    bool name_by_name_step() noexcept;
    void add(Item item, std::uint64_t cost) noexcept;
    void flush() noexcept;
    [[nodiscard]] bool is_quiet(std::uint16_t volume, std::uint64_t offset,
                                std::uint64_t size) noexcept;
    [[nodiscard]] bool is_finished() const noexcept;
    void estimate_total() noexcept;
    void fail(Status status) noexcept;
    void end(VerifyEnd how, const std::string& why) noexcept;

    // verify_source_findings.cpp
    Status on_answer(Bytes payload) noexcept;
    void look_again(Item item) noexcept;
    bool ask() noexcept;
    bool read_own_side(Question& question) noexcept;
    Status own_entry(const Item& item, ObjectId& id) noexcept;
    Status on_reply(Bytes payload) noexcept;
    Status settle_attributes(const Question& question, const VerifyReply& reply) noexcept;
    Status settle_content(const Question& question, const VerifyReply& reply) noexcept;
    void settle_entry(const Question& question, const VerifyReply& reply) noexcept;
    void settle_listing(const Question& question, const VerifyReply& reply) noexcept;
    [[nodiscard]] std::string path_of(const Item& item) noexcept;
    void report(const Item& item, const VerifyDetail& detail) noexcept;
    void tell(const Item& item, bool is_new) noexcept;

    [[nodiscard]] DirectoryVolume& directory(std::uint16_t volume) noexcept {
        return replica_.directory(volume);
    }

    Loop& loop_;
    Replica& replica_;
    ResyncProgress& progress_;
    VerifyReport& report_;
    Options options_;
    bool is_running_ = false;
    bool has_ended_ = false;
    std::uint64_t run_ = 0;
    std::uint64_t next_number_ = 1;
    std::vector<std::unique_ptr<VerifyWalk>> walks_;  // one a volume; null: a block volume
    std::uint16_t volume_ = 0;                        // being walked; volume_count(): none is left
    std::vector<VerifyWalk::Met> found_;              // by the last steps of the walk, as below
    std::deque<std::pair<std::uint16_t, VerifyWalk::Met>> met_;
    std::deque<Content> contents_;
    std::deque<NameByName> name_by_name_;
    std::deque<Item> questions_;
    std::optional<Question> asked_;
    std::vector<Item> items_;  // of the check being made in this turn
    std::deque<Check> outstanding_;
    std::uint64_t turn_bytes_ = 0;
    std::int64_t allowance_ = 0;  // bytes that may be read now; below 0: owed
    Instant refilled_;
    unsigned busy_ = 0;           // looks at a range that was busy each time
    bool claims_ = false;         // a range is claimed
    bool content_waits_ = false;  // in this turn
    bool is_scheduled_ = false;
    Timer timer_;
    ResyncRate rate_;
    Chunk chunk_;
    ByteBuffer frame_;
    std::vector<ListedEntry> listed_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // for what is posted
};

}  // namespace gemel
